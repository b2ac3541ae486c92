"""Workers whose programs differ refuse to train, and say in what."""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TFEpochIterator
from tests.fidelity.harness import Shape, run
from tests.fidelity.programs import data, dense

import kerasjob_trainer.trainer.main  # noqa: F401
from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.session import drift


def program(kind):
    """A `fit` up to its first step, in which worker 1 does something else."""

    def row(_):
        rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        odd = rank == 1
        x, y = data()
        if kind == "order":
            x = x[::-1] if odd else x
        if kind == "numpy":
            np.random.seed(rank)
        paths = [f"{Path.cwd()}/pictures/{name}.png" for name in "abcd"]  # each worker has a folder of its own
        source = tf.data.Dataset.from_tensor_slices(paths[::-1] if odd and kind == "files" else paths).batch(2)
        if kind == "classes":
            source.class_names = ["yes", "no"] if odd else ["no", "yes"]
        if kind == "length":
            source = source.take(1) if odd else source
        model = dense(keras)
        if kind == "weights" and odd:
            model.set_weights([weight + 1 for weight in model.get_weights()])
        on_dataset = kind in ("files", "classes", "length", "folders")
        iterator = TFEpochIterator(
            x=source if on_dataset else x,
            y=None if on_dataset else y,
            batch_size=None if on_dataset else 8,
            distribute_strategy=tf.distribute.get_strategy(),
        )
        try:
            drift.check(model, iterator, 0, {"epochs": 3 if odd and kind == "epochs" else 2})
        except Refused as error:
            return {"message": str(error)}
        return {"message": ""}

    return row


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("nothing", ""),
        ("folders", ""),
        ("order", "the arrays"),
        ("weights", "the initial values of sequential/dense/kernel, sequential/dense/bias"),
        ("numpy", "the random states"),
        ("files", "the files or rows of the dataset"),
        ("classes", "the class names of the dataset"),
        ("length", "the number of batches"),
        ("epochs", "the arguments of fit"),
    ],
)
def test_what_differs_between_workers_is_named_before_the_first_step(kind, named, tmp_path):
    messages = [result["message"] for result in run(program(kind), Shape(2), tmp_path)]
    assert messages[0] == messages[1]
    assert named in messages[0]
    assert bool(messages[0]) == bool(named)
