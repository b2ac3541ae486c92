"""From the loss of a worker to the next training step, side by side with the best that stock Keras can do.

python benchmarks/recovery.py [ROUNDS]

The job: two workers, real agents, and this program in the operator's place. A trainer process is killed, or a whole
agent with all below it, as when a pod is lost, and a new one started. Stock: the same script as one process (`fit` of
stock Keras does not run on two workers) with `BackupAndRestore` after each epoch, started again at once when it dies.
Both are killed in the middle of an epoch that takes a minute. A step takes a tenth of a second, most of which is
waiting, as for an accelerator; the script spends some seconds before its first step on imports, data, `adapt` and its
model. Last, a job trains for a minute, and then for three in each of which a trainer is killed: goodput is how fast it
comes on then, of how fast it came on before.
"""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.trainer.harness import Job, eventually

STEPS = 600
KILL_AT = STEPS + STEPS // 2
MINUTES = 3

SCRIPT = """
import sys, time
from pathlib import Path

marks = (Path(sys.argv[1]) / f"{time.time_ns()}").open("w", buffering=1)

def mark(what):
    print(time.time(), what, file=marks)

mark("program")
import keras, numpy as np
mark("imports")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(32 * STEPS, 64)).astype("float32"), rng.integers(0, 10, 32 * STEPS)
mark("data")
normalization = keras.layers.Normalization()
normalization.adapt(x)
mark("adapt")
inputs = keras.Input((64,))
outputs = normalization(inputs)
for _ in range(4):
    outputs = keras.layers.BatchNormalization()(keras.layers.Dense(64, "relu")(outputs))
model = keras.Model(inputs, keras.layers.Dense(10)(outputs))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
mark("model")

class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch:  # the first epoch is only there to be behind us
            time.sleep(0.1)
        mark(f"step {self.epoch * STEPS + batch + 1}")

callbacks = [Clock()]
if sys.argv[2] == "stock":
    callbacks.append(keras.callbacks.BackupAndRestore("backup"))
model.fit(x, y, batch_size=32, epochs=int(sys.argv[3]), callbacks=callbacks, verbose=0)
""".replace("STEPS", str(STEPS))


def read(folder):
    """All runs of the program, the newest last: what was marked when."""
    return [
        [(float(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in path.read_text().splitlines()]
        for path in sorted(folder.iterdir())
    ]


def steps_of(run):
    return [(at, int(what.split()[1])) for at, what in run if what.startswith("step ")]


def wait_for_step(folder, number, after=0.0):
    """When a run that began after a moment has done at least so many steps."""

    def look():
        for run in read(folder):
            if run and run[0][0] > after:
                for at, step in steps_of(run):
                    if step >= number:
                        return at
        return None

    return eventually(look, f"step {number}", 600)


def parts(folder, killed, told=None):
    """Seconds from the kill to each mark of the first run after it. `told`: when each agent knew."""
    run = next(run for run in read(folder) if run and run[0][0] > killed)
    times = {what: at for at, what in run if not what.startswith("step ")}
    first, step = steps_of(run)[0]
    found, before = {}, killed
    for name, at in {**(told or {}), **times, "first step": first}.items():
        found[name], before = at - before, at
    return found, first - killed, step


def stock(folder):
    marks = folder / "marks"
    marks.mkdir(parents=True)
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "script.py", str(marks), "stock", "3"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_for_step(marks, KILL_AT)
        process.kill()
        killed = time.time()
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        back = wait_for_step(marks, KILL_AT + 1, after=killed)
        process.kill()
    found, seconds, step = parts(marks, killed)
    return {"parts": found, "next step": seconds, "where it was": back - killed, "steps lost": KILL_AT + 1 - step}


@contextlib.contextmanager
def running(folder, epochs):
    """A job in the middle of its second epoch, and where its marks are."""
    marks, code = folder / "marks", folder / "code"
    marks.mkdir(parents=True)
    code.mkdir()
    (code / "script.py").write_text(SCRIPT)
    program = {"script": "script.py", "args": [str(marks), "job", str(epochs)]}
    made = Job(folder / "job", program, workers=2, code=code)
    made.folder.mkdir()
    try:
        made.start_all()
        made.form()
        wait_for_step(marks, KILL_AT)
        yield made, marks
    finally:
        made.close()


def job(folder, kill):
    with running(folder, 3) as (made, marks):
        told = kill(made)
        killed = told.pop("killed")
        back = wait_for_step(marks, KILL_AT + 1, after=killed)
        logs = [(worker.folder / "log").read_text() for worker in made.live.values()]
    seek = max(
        float(seconds) for text in logs for seconds in re.findall(r"data brought to epoch \d+ in ([\d.]+) s", text)
    )
    found, seconds, step = parts(marks, killed, told)
    found["data seek, of the first step"] = seek
    lost = max(step for run in read(marks) if run[0][0] < killed for _, step in steps_of(run)) + 1 - step
    return {"parts": found, "next step": seconds, "where it was": back - killed, "steps lost": lost}


def kill_process(made):
    os.kill(*made.live[1].trainer_pids(), signal.SIGKILL)
    told = {"killed": time.time()}
    for worker in made.live.values():
        worker.wait_for_state("lost")
    told["detect"] = time.time()
    made.form()
    return told | {"meet": time.time()}


def kill_pod(made):
    pids = made.live[1].trainer_pids()
    made.live[1].kill()
    told = {"killed": time.time()}
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "its trainer goes with it")
    made.start(1, incarnation=1)
    made.live[0].wait_for_state("lost")
    told["detect"] = time.time()
    made.live[1].wait_for(lambda r: r["state"] != "staging", "ready")
    told["new pod ready"] = time.time()
    made.form()
    return told | {"meet": time.time()}


def goodput(folder):
    """With a trainer killed each minute, of a minute without."""
    with running(folder, 5 + 2 * MINUTES) as (made, marks):
        times = [time.time() + 60 * minute for minute in range(MINUTES + 2)]
        for number, at in enumerate(times[1:], 1):
            eventually(lambda at=at: time.time() >= at, "the end of the minute", 70)
            if number <= MINUTES:
                kill_process(made)
    steps = [step for run in read(marks) for step in steps_of(run)]
    undisturbed, first, last = (
        max(step for at, step in steps if at <= until) for until in (times[0], times[1], times[-1])
    )
    return (last - first) / MINUTES / (first - undisturbed)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    kinds = {
        "process": lambda folder: job(folder, kill_process),
        "pod": lambda folder: job(folder, kill_pod),
        "stock": stock,
    }
    found = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds):
            for kind, run in kinds.items():
                found[kind].append(run(Path(name) / f"{kind}-{number}"))
        report(found)
        print(f"a trainer killed once a minute: goodput {goodput(Path(name) / 'goodput'):.1%}")


def report(found):
    table = {}
    for kind, runs in found.items():
        for what in ("next step", "where it was", "steps lost"):
            table.setdefault(kind, {})[what] = statistics.median(run[what] for run in runs)
        split = {name: statistics.median(run["parts"][name] for run in runs) for name in runs[0]["parts"]}
        line = table[kind]
        print(
            f"{kind:8} next step after {line['next step']:5.1f} s, where it was after {line['where it was']:5.1f} s,"
            f" steps lost: {line['steps lost']:.0f};"
            f" {', '.join(f'{name} {seconds:.2f}' for name, seconds in split.items())}"
        )
    for kind in ("process", "pod"):
        for what in ("next step", "where it was"):
            ratio = statistics.median(
                theirs[what] / ours[what] for theirs, ours in zip(found["stock"], found[kind], strict=True)
            )
            table[kind][f"{what}, stock/ours"] = ratio
        print(
            f"{kind:8} stock needs {table[kind]['next step, stock/ours']:.1f} times as long to the next step,"
            f" {table[kind]['where it was, stock/ours']:.1f} times to where it was"
        )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
