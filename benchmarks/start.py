"""Time to the first step: a worker of a job against plain `python script.py`, and a second program in the same pod.

python benchmarks/start.py [ROUNDS]

One worker, no cluster: an agent as it is in a pod, the same script in turn with plain Python. The second program runs
in the trainer that the warm process forks once the first one is gone.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.trainer.harness import Job

SCRIPT = """
import sys, time
from pathlib import Path
import keras, numpy as np

class Clock(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        path = Path(sys.argv[1])
        if not path.exists():
            path.write_text(repr(time.time()))
        time.sleep(0.05)

model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10, "softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
x, y = np.zeros((640, 784), "float32"), np.zeros(640)
model.fit(x, y, batch_size=64, epochs=int(sys.argv[2]), verbose=0, callbacks=[Clock()])
"""


def read(path):
    """When the first step was done; the program tells by a file."""
    deadline = time.monotonic() + 120
    while not path.exists() or not path.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)
    return float(path.read_text())


def plain(folder):
    script, mark = folder / "script.py", folder / "plain"
    script.write_text(SCRIPT)
    began = time.time()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, script, mark, "1"], check=True, capture_output=True, env=environment)
    return read(mark) - began


def job(folder):
    code = folder / "code"
    code.mkdir()
    (code / "script.py").write_text(SCRIPT)
    first = folder / "first"
    made = Job(folder / "job", {"script": "script.py", "args": [str(first), "1000"]}, workers=1, code=code)
    made.folder.mkdir()
    try:
        began = time.time()
        (worker,) = made.start_all()
        made.form()
        start = read(first) - began
        os.kill(*worker.trainer_pids(), signal.SIGKILL)
        worker.wait_for_state("lost")
        first.unlink()
        began = time.time()
        made.form()
        return start, read(first) - began
    finally:
        made.close()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    ratios, again = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            start, second = job(Path(folder))
            alone = plain(Path(folder))
            ratios.append(start / alone)
            again.append(second)
            print(f"job {start:.2f} s, plain {alone:.2f} s, second program {second:.2f} s", flush=True)
    print(
        f"job / plain {statistics.median(ratios):.2f}; second program in the same pod {statistics.median(again):.2f} s"
    )


if __name__ == "__main__":
    main()
