"""Fixtures of the cluster tests. `hack/test.sh` brings the cluster up before and takes it down after them.

Most tests run beside each other. Those that are marked `alone` take nodes or the operator away from all others.
"""

import fcntl
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import cluster

EXAMPLE = cluster.ROOT / "examples" / "mnist"


# The longest first: at the end all workers of pytest wait for the one that began a long file late. A worker that has a
# file of a single test is given another one at once: the fourth, a short one, waits for the first.
FIRST = ("test_training", "test_wrong_input", "test_disruptions", "test_images", "test_examples", "test_tensorboard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        ours = item.path.parent == Path(__file__).parent and item.path.stem in FIRST
        return FIRST.index(item.path.stem) if ours else len(FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def running_cluster():
    if not (cluster.STATE / "kubeconfig").exists():
        pytest.exit("no cluster: run `make cluster-up` first", returncode=2)


@pytest.fixture(scope="session")
def example() -> dict:
    """The main example, as checked in."""
    return yaml.safe_load((EXAMPLE / "kerasjob.yaml").read_text())


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """Makes what all of pytest's workers share (as JSON, in a folder of its own): the first that asks does."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def once(name: str, make: Callable[[Path], Any]) -> Any:
        done = folder / f"{name}.json"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                home = folder / name
                home.mkdir()
                done.write_text(json.dumps(make(home)))
        return json.loads(done.read_text())

    return once


SMALL_DIGITS = "datasets/small/mnist.npz"


@pytest.fixture(scope="session")
def small_digits(once) -> str:
    """The few thousand digits that come with the project, in the bucket: a run of short epochs."""

    def upload(_: Path) -> str:
        cluster.s3().upload_file(str(EXAMPLE / "data" / "mnist.npz"), "kerasjob", SMALL_DIGITS)
        return f"s3://kerasjob/{SMALL_DIGITS.removesuffix('mnist.npz')}"

    return once("small-digits", upload)


@pytest.fixture
def job(example, small_digits):
    """The example on few digits and a few short epochs, under a name of its own; deleted afterwards."""
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


SMALL_EPOCHS = 6
SMALL_ARGS = [f"--epochs={SMALL_EPOCHS}"]


PAUSE = """
import pathlib, time
def pause(batch, logs=None):
    if not pathlib.Path("/tmp/hurry").exists():
        time.sleep(0.2)
"""


def unhurried() -> str:
    """The example's program, which takes its time (most of two minutes) until it is told to hurry: it lasts as long as
    a test needs it to, on a fast machine and on a slow one. Its numbers are the same."""
    program = (EXAMPLE / "train.py").read_text()
    assert program.count("callbacks=[") == 1
    pausing = program.replace("callbacks=[", "callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=pause),")
    return PAUSE + pausing


def hurry(name: str) -> None:
    """Ends the pauses of a job's workers, which must run."""
    for pod in cluster.pods_of(name):
        if "deletionTimestamp" not in pod["metadata"]:
            cluster.kubectl("exec", pod["metadata"]["name"], "--", "touch", "/tmp/hurry")


@pytest.fixture(scope="session")
def reference(example, once) -> list[dict]:
    """What one machine gives for the example."""
    args = example_args(example)
    return once("plain", lambda home: plain_histories(home, example, "datasets/mnist/mnist.npz", args))


@pytest.fixture(scope="session")
def small_reference(example, small_digits, once) -> list[dict]:
    """What one machine gives for few digits."""
    return once("plain-small", lambda home: plain_histories(home, example, SMALL_DIGITS, SMALL_ARGS))


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
