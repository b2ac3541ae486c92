"""What saving costs: a step while 300 MB of state are saved every 20 steps, side by side with no saving and with what
Keras and Orbax offer; upload and restore against plain boto3.

python benchmarks/checkpoint.py [ROUNDS]

One worker. The job is a real agent with a real S3 server (versitygw, from the test cluster's tools) and a directory;
the others are the same script under plain Python, as their users run it. A round runs all of them in turn; an overhead
is the median over rounds. `copy` is the part that no checkpoint can do without: the state copied once, to memory
that is there. Training has one thread for arithmetic, so that the host has time left for the rest, as beside a GPU;
ALL_CORES=1 gives it all cores, and whatever else runs takes time from it, the S3 server too. Orbax runs where it is
installed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3
from tests.trainer import test_s3 as s3
from tests.trainer.harness import Job, eventually, free_ports

from kerasjob_api.wire import S3Access
from kerasjob_trainer.store import open_store

EVERY, STEPS, SKIPPED = 20, 100, 20
THREADS = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
if not os.environ.get("ALL_CORES"):
    THREADS |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}

SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import keras, numpy as np

out, how, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
steps, marks = int(sys.argv[4]), []

class Clock(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        marks.append(time.monotonic())

layers = [keras.layers.Dense(2500, "relu") for _ in range(4)]
model = keras.Sequential([keras.Input((2500,)), *layers, keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(64 * steps, 2500)).astype("float32"), rng.integers(0, 10, 64 * steps)
callbacks = [Clock()]
if how == "ModelCheckpoint":
    callbacks.append(keras.callbacks.ModelCheckpoint("saved.keras", save_freq=every))
elif how == "BackupAndRestore":
    callbacks.append(keras.callbacks.BackupAndRestore("backup", save_freq=every, delete_checkpoint=False))
elif how == "Orbax":
    import orbax.checkpoint as ocp

    class Orbax(keras.callbacks.Callback):
        manager = ocp.CheckpointManager(Path("orbax").absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=3))

        def on_train_batch_end(self, batch, logs=None):
            if (batch + 1) % every == 0:
                state = {f"v{i}": np.array(v) for i, v in enumerate([*model.variables, *model.optimizer.variables])}
                self.manager.save(batch + 1, args=ocp.args.StandardSave(state))

    callbacks.append(Orbax())
model.fit(x, y, batch_size=64, verbose=0, callbacks=callbacks, shuffle=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
state = [np.array(v) for v in {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values()]
copies = [value.copy() for value in state]
began = time.monotonic()
for value, place in zip(state, copies):
    np.copyto(place, value)
copy = time.monotonic() - began
out.write_text(json.dumps({"marks": marks, "bytes": sum(v.nbytes for v in state), "copy": copy, "peak": peak}))
"""


def measured(out):
    """Mean seconds of a step, without the first ones, which trace; the state's size; a copy's seconds; peak memory."""
    said = json.loads(out.read_text())
    marks = said["marks"]
    return (marks[-1] - marks[SKIPPED - 1]) / (len(marks) - SKIPPED), said


def plain(folder, how):
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", "out", how, str(EVERY), str(STEPS + SKIPPED)]
    ended = subprocess.run(command, cwd=folder, env={**os.environ, **THREADS}, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(ended.stderr[-2000:])
    return measured(folder / "out")


def job(folder, checkpoint, config=None):
    folder.mkdir()
    code, out = folder / "code", folder / "out"
    code.mkdir()
    (code / "script.py").write_text(SCRIPT)
    arguments = [str(out), "job", str(EVERY), str(STEPS + SKIPPED)]
    more = {"checkpoint": checkpoint, **(config or {})}
    made = Job(
        folder / "job", {"script": "script.py", "args": arguments}, workers=1, code=code, config=more, env=THREADS
    )
    made.folder.mkdir()
    s3.write_keys(made.folder / "s3-keys", s3.KEY, s3.SECRET)
    try:
        (worker,) = made.start_all()
        made.form()
        worker.wait_for_end(600)
        if not out.exists():
            raise RuntimeError(worker.log())
        log = (worker.folder / "log").read_text()
        return *measured(out), log.count(" committed: ")
    finally:
        made.close()


def transfers(folder, endpoint, keys, num_bytes):
    """Seconds of an upload and of a restore, ours and boto3's; of a write to the disk that is flushed."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(os.urandom(num_bytes))
    store = open_store("s3://bucket/ours/", S3Access(endpoint, "us-east-1", "keys"), keys)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3.KEY,
        aws_secret_access_key=s3.SECRET,
    )
    steps = {
        "upload": lambda: store.put_file("file", source),
        "boto3 upload_file": lambda: client.upload_file(str(source), "bucket", "theirs"),
        "restore": lambda: store.get_file("file", target),
        "boto3 download_file": lambda: client.download_file("bucket", "theirs", str(target)),
        "disk": lambda: flushed(target, source.read_bytes()),
    }
    found = {}
    for name, step in steps.items():
        began = time.monotonic()
        step()
        found[name] = time.monotonic() - began
    return found


def flushed(path, content):
    with path.open("wb") as file:
        file.write(content)
        os.fsync(file.fileno())


def serve(folder):
    binary = s3.versitygw()
    if binary is None:
        sys.exit("no versitygw: `make cluster-up` builds it, or set KERASJOB_VERSITYGW")
    (folder / "s3" / "bucket").mkdir(parents=True)
    (port,) = free_ports(1)
    # Elsewhere it would have a machine of its own: here it takes what training leaves.
    command = ["nice", "-n", "19", binary, "--access", s3.KEY, "--secret", s3.SECRET, "--port", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "posix", str(folder / "s3")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    s3.write_keys(folder / "keys", s3.KEY, s3.SECRET)
    endpoint = f"http://127.0.0.1:{port}"
    eventually(lambda: s3.answers(endpoint, folder / "keys"), "the S3 server answers", 20)
    return process, endpoint


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds, peaks, saved, speeds = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, endpoint = serve(folder)
        access = {"s3": {"endpoint": endpoint, "region": "us-east-1", "secretName": "keys"}}
        kinds = ["none", "ModelCheckpoint", "BackupAndRestore"]
        if subprocess.run([sys.executable, "-c", "import orbax.checkpoint"], capture_output=True).returncode == 0:
            kinds.append("Orbax")
        try:
            for number in range(rounds):
                work = folder / str(number)
                work.mkdir()
                for kind in kinds:
                    seconds.setdefault(kind, []).append(plain(work / kind, kind)[0])
                every = {"everySteps": EVERY, "keep": {"last": 2}}
                jobs = {
                    "job, none": (None, None),
                    "job, directory": ({"uri": str(work / "store"), **every}, None),
                    "job, S3": ({"uri": f"s3://bucket/{number}", **every}, access),
                }
                for kind, (checkpoint, config) in jobs.items():
                    step, said, number_saved = job(work / kind, checkpoint, config)
                    seconds.setdefault(kind, []).append(step)
                    peaks.setdefault(kind, []).append(said["peak"])
                    saved.setdefault(kind, []).append(number_saved)
                for kind, value in transfers(work, endpoint, folder / "keys", said["bytes"]).items():
                    speeds.setdefault(kind, []).append(value)
                subprocess.run(["rm", "-rf", str(work), str(folder / "s3" / "bucket" / str(number))], check=True)
        finally:
            server.kill()
    report(seconds, peaks, saved, speeds, said)


def report(seconds, peaks, saved, speeds, said):
    size = said["bytes"]
    print(f"state: {size / 1e6:.0f} MB; a copy of it in memory: {said['copy']:.3f} s; {os.cpu_count()} cores")
    table = {}
    for kind, values in seconds.items():
        before = seconds["job, none" if kind.startswith("job") else "none"]
        overhead = statistics.median(a / b for a, b in zip(values, before, strict=True)) - 1
        copy = said["copy"] / (EVERY * statistics.median(before))
        table[kind] = {"ms": 1000 * statistics.median(values), "overhead": overhead}
        beyond = "" if kind.endswith("none") else f", {overhead - copy:+7.1%} beyond a copy"
        print(f"{kind:18} {table[kind]['ms']:7.1f} ms a step, {overhead:+7.1%}{beyond}")
    for kind in ("job, directory", "job, S3"):
        more = statistics.median(a - b for a, b in zip(peaks[kind], peaks["job, none"], strict=True))
        table[kind]["memory"] = more / size
        print(
            f"{kind:18} peak memory of the trainer: {more / size:+.2f} states;"
            f" {min(saved[kind])} of {(STEPS + SKIPPED) // EVERY} due were committed"
        )
    medians = {kind: statistics.median(values) for kind, values in speeds.items()}
    for kind, other in (("upload", "boto3 upload_file"), ("restore", "boto3 download_file")):
        ratio = statistics.median(b / a for a, b in zip(speeds[kind], speeds[other], strict=True))
        table[kind] = {"speed against boto3": ratio}
        print(
            f"{kind:18} {size / 1e6 / medians[kind]:7.0f} MB/s, {ratio:.2f} times {other}"
            f" (disk, flushed: {size / 1e6 / medians['disk']:.0f} MB/s)"
        )
    print(json.dumps(table))


if __name__ == "__main__":
    main()
