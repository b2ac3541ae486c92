"""Fixtures of the cluster tests. `hack/test.sh` brings the cluster up before and takes it down after them."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.cluster import cluster

EXAMPLE = cluster.ROOT / "examples" / "mnist"


@pytest.fixture(scope="session", autouse=True)
def running_cluster():
    if not (cluster.STATE / "kubeconfig").exists():
        pytest.exit("no cluster: run `make cluster-up` first", returncode=2)


@pytest.fixture(scope="session")
def example() -> dict:
    """The main example, as checked in."""
    return yaml.safe_load((EXAMPLE / "kerasjob.yaml").read_text())


SMALL_DIGITS = "datasets/small/mnist.npz"


@pytest.fixture(scope="session")
def small_digits() -> str:
    """The few thousand digits that come with the project, in the bucket: a run of many short epochs."""
    cluster.s3().upload_file(str(EXAMPLE / "data" / "mnist.npz"), "kerasjob", SMALL_DIGITS)
    return f"s3://kerasjob/{SMALL_DIGITS.removesuffix('mnist.npz')}"


@pytest.fixture
def job(example, small_digits):
    """The example on few digits and 10 short epochs, under a name of its own; deleted afterwards."""
    made = []

    def make(name: str, **changes) -> dict:
        spec = json.loads(json.dumps(example["spec"]))
        spec["program"]["args"] = SMALL_ARGS
        spec["data"] = [{"uri": small_digits, "path": "/data/mnist"}]
        for constraint in spec["podTemplate"]["spec"]["topologySpreadConstraints"]:
            constraint["labelSelector"]["matchLabels"]["kerasjob.dev/job"] = name
        made.append(name)
        spec |= changes
        return {**example, "metadata": {"name": name}, "spec": {k: v for k, v in spec.items() if v is not None}}

    yield make
    for name in made:
        cluster.delete(name)


SMALL_ARGS = ["--epochs=10"]


def unhurried(seconds: float) -> str:
    """The example's program with a pause before each epoch: it lasts on a fast machine, too, with the same numbers."""
    pause = f"lambda epoch, logs: __import__('time').sleep({seconds})"
    program = (EXAMPLE / "train.py").read_text()
    assert program.count("callbacks=[") == 1
    return program.replace("callbacks=[", f"callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin={pause}),")


@pytest.fixture(scope="session")
def reference(example, tmp_path_factory) -> list[dict]:
    """What one machine gives for the example."""
    return plain_histories(tmp_path_factory.mktemp("plain"), example, "datasets/mnist/mnist.npz", example_args(example))


@pytest.fixture(scope="session")
def small_reference(example, small_digits, tmp_path_factory) -> list[dict]:
    """What one machine gives for few digits."""
    return plain_histories(tmp_path_factory.mktemp("plain-small"), example, SMALL_DIGITS, SMALL_ARGS)


def example_args(example: dict) -> list[str]:
    return example["spec"]["program"]["args"]


def plain_histories(home: Path, example: dict, digits: str, args: list[str]) -> list[dict]:
    """Histories of plain `python train.py` with the same digits, arguments and seed."""
    staged = home / "datasets" / "mnist.npz"
    staged.parent.mkdir()
    cluster.s3().download_file("kerasjob", digits, str(staged))
    shutil.copy(EXAMPLE / "train.py", home)
    histories = home / "histories.json"
    run = subprocess.run(
        [sys.executable, "-c", PLAIN, str(example["spec"]["seed"]), str(histories), *args],
        cwd=home,
        env={**os.environ, "KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(histories.read_text())


# The program as it is, under plain Keras: the seed and the order of rows of a job, and the histories are written after.
PLAIN = """
import json, runpy, sys
seed, out, *args = sys.argv[1:]
import keras
from keras.src.datasets import mnist
import pathlib, os
staged = pathlib.Path(os.environ["KERAS_HOME"]) / "datasets" / "mnist.npz"
mnist.get_file = lambda *a, **k: str(staged)  # a subset of the digits has another checksum
keras.utils.set_random_seed(int(seed))
from kerasjob_trainer.trainer import array_order
array_order.apply()
histories, fit = [], keras.Model.fit
def recording(self, *a, **k):
    history = fit(self, *a, **k)
    histories.append({key: [float(v) for v in values] for key, values in history.history.items()})
    return history
keras.Model.fit = recording
keras.src.backend.tensorflow.trainer.TensorFlowTrainer.fit = recording
sys.argv = ["train.py", *args]
runpy.run_path("train.py", run_name="__main__")
json.dump(histories, open(out, "w"))
"""


def assert_same_losses(found: list[dict], expected: list[dict]) -> None:
    """Losses agree to 1e-5 relative: two workers add float32 gradients in another order than one process."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert sorted(ours) == sorted(theirs)
        for key in (k for k in ours if "loss" in k):
            assert len(ours[key]) == len(theirs[key])
            for a, b in zip(ours[key], theirs[key], strict=True):
                assert math.isclose(a, b, rel_tol=1e-5), (key, ours[key], theirs[key])


def histories_of(job: dict) -> list[dict]:
    return [call["history"] for call in cluster.done_record(job)["histories"]]
