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


@pytest.fixture
def job(example, request):
    """A small job of its own name, deleted afterwards. Call it with spec fields to change."""
    made = []

    def make(name: str, **changes) -> dict:
        spec = json.loads(json.dumps(example["spec"])) | {"workers": 2} | changes
        for constraint in spec["podTemplate"]["spec"]["topologySpreadConstraints"]:
            constraint["labelSelector"]["matchLabels"]["kerasjob.dev/job"] = name
        made.append(name)
        return {**example, "metadata": {"name": name}, "spec": {k: v for k, v in spec.items() if v is not None}}

    yield make
    for name in made:
        cluster.delete(name)


@pytest.fixture(scope="session")
def reference(example, tmp_path_factory) -> list[dict]:
    """Histories of plain `python train.py` with the same digits, arguments and seed: what one machine gives."""
    home = tmp_path_factory.mktemp("reference")
    (home / "datasets").mkdir()
    digits = home / "datasets" / "mnist.npz"
    with digits.open("wb") as file:
        cluster.s3().download_fileobj("kerasjob", "datasets/mnist/mnist.npz", file)
    shutil.copy(EXAMPLE / "train.py", home)
    histories = home / "histories.json"
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            PLAIN,
            str(example["spec"]["seed"]),
            str(histories),
            *example["spec"]["program"]["args"],
        ],
        cwd=home,
        env={**os.environ, "KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(histories.read_text())


# The program as it is, under plain Keras: only the seed is set before, and the histories are written after.
PLAIN = """
import json, runpy, sys
seed, out, *args = sys.argv[1:]
import keras
from keras.src.datasets import mnist
import pathlib, os
staged = pathlib.Path(os.environ["KERAS_HOME"]) / "datasets" / "mnist.npz"
mnist.get_file = lambda *a, **k: str(staged)  # a subset of the digits has another checksum
keras.utils.set_random_seed(int(seed))
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


__all__ = ["EXAMPLE", "Path", "assert_same_losses", "histories_of"]
