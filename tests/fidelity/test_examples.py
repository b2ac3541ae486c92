"""Every example on two workers, against the same `train.py` in one plain process."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

import numpy as np
from tests.fidelity.harness import PLAIN, Shape, largest_difference, run

import kerasjob_trainer.trainer.main  # noqa: F401

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/train.py"))
# float32: sums in another order, over a few epochs of training.
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "data"
    subprocess.run([sys.executable, str(EXAMPLES / "make_data.py"), str(folder)], check=True, capture_output=True)
    shutil.copytree(EXAMPLES / "mnist" / "data", folder / "mnist")
    return folder


def example(name, data):
    """Runs it as a job does: data at `data/`, the staged subset for keras.datasets."""

    def row(_):
        import keras
        from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

        from kerasjob_trainer.trainer import staged_datasets

        Path("data").symlink_to(data)
        datasets = Path("keras") / "datasets"
        datasets.mkdir(parents=True)
        shutil.copy(data / "mnist" / "mnist.npz", datasets)
        staged_datasets.apply(Path("keras").absolute())
        keras.config.set_floatx("float32")
        found, fit, evaluate = {}, TensorFlowTrainer.fit, TensorFlowTrainer.evaluate

        def recording_fit(model, *args, **kwargs):
            history = fit(model, *args, **kwargs)
            found.update({f"fit {len(found)} {k}": np.array(v, "float32") for k, v in history.history.items()})
            return history

        def recording_evaluate(model, *args, **kwargs):
            result = evaluate(model, *args, **kwargs)
            values = list(result.values()) if isinstance(result, dict) else result
            found[f"evaluate {len(found)}"] = np.array(values, "float32")
            return result

        TensorFlowTrainer.fit, TensorFlowTrainer.evaluate = recording_fit, recording_evaluate
        sys.argv = ["train.py", "--epochs=2"] if name == "mnist" else ["train.py"]
        os.environ["KERAS_HOME"] = str(Path("keras").absolute())
        runpy.run_path(str(EXAMPLES / name / "train.py"), run_name="__main__")
        return found

    return row


@pytest.mark.parametrize("name", NAMES)
def test_an_example_gives_on_two_workers_what_it_gives_on_one(name, data, tmp_path):
    (expected,) = run(example(name, data), PLAIN, tmp_path / "plain")
    results = run(example(name, data), Shape(2, floatx="float32"), tmp_path / "two")
    assert expected
    difference, where = max(largest_difference(expected, result) for result in results)
    assert difference <= TOLERANCE, f"{where} differs by {difference:.1e}"
