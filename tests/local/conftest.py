"""A small program and the real command, with real agents and TensorFlow."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

# Written as for one machine; slow enough to be stopped between two steps.
PROGRAM = """
import sys, time
import keras, numpy as np

class Slowly(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(sys.argv[1]))

keras.utils.set_random_seed(3)
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.01), "mse")
model.fit(x, y, batch_size=16, epochs=6, verbose=2, callbacks=[Slowly()])
print("the program is at its end")
"""


class Runner:
    """The `kerasjob` command in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, program=PROGRAM, name="tiny", args=("0",), **spec):
        (self.folder / "train.py").write_text(program)
        spec = {"workers": 2, "seed": 5, "program": {"script": "train.py", "args": list(args)}} | spec
        job = {"apiVersion": "kerasjob.dev/v1alpha1", "kind": "KerasJob", "metadata": {"name": name}, "spec": spec}
        (self.folder / "job.yaml").write_text(yaml.safe_dump(job))

    def start(self, *options):
        command = [sys.executable, "-m", "kerasjob.cli", "run", "job.yaml", *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options):
        """Runs to the end; answers the exit code and all that was shown."""
        process = self.start(*options)
        shown, _ = process.communicate(timeout=120)
        return process.returncode, shown

    def call(self, *words):
        """What another command says."""
        command = [sys.executable, "-m", "kerasjob.cli", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def state(self, name="tiny", directory=".kerasjob"):
        return json.loads((self.folder / directory / "jobs" / name / "job.json").read_text())

    def losses(self, directory=".kerasjob"):
        (record,) = (self.folder / directory).rglob("done.json")
        return [call["history"]["loss"] for call in json.loads(record.read_text())["histories"]]

    def until(self, condition, seconds=90.0):
        """Waits until the job's state is so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition(self.state()):
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.1)
        raise AssertionError("it never came to that")

    def agents(self):
        """Processes of this folder's workers."""
        marker = f"KERASJOB_CONFIG={self.folder}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (process / "environ").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
        return found


@pytest.fixture
def kerasjob(tmp_path):
    return Runner(tmp_path)
