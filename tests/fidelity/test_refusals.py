"""What several workers cannot give as one process does is refused before the first step, in words for the user."""

import os

import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf
from tests.fidelity.harness import Shape, run
from tests.fidelity.programs import BATCH, data, dense, images

import kerasjob_trainer.trainer.main  # noqa: F401
from kerasjob_trainer.trainer.failure import Refused


def custom(loss):
    """A model with a `train_step` of its own."""

    class Model(keras.Model):
        def train_step(self, batch):
            x, y = batch
            with tf.GradientTape() as tape:
                value = loss(tf.cast(y, "float32")[:, None], self(x, training=True))
            gradients = tape.gradient(value, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": value}

    inputs = keras.Input((6,))
    model = Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.Adam())
    return model


def fit_sum():
    custom(lambda y, p: tf.reduce_sum(tf.square(y - p))).fit(*data(), batch_size=BATCH, verbose=0)


def fit_contrast():
    def contrast(y, p):
        return tf.reduce_mean(tf.square(p - tf.transpose(p)))

    custom(contrast).fit(*data(), batch_size=BATCH, verbose=0)


def fit_mean():
    custom(lambda y, p: tf.reduce_mean(tf.square(y - p))).fit(*data(), batch_size=BATCH, verbose=0)


def fit_own_layer():
    class Spread(keras.layers.Layer):
        def call(self, x):
            return x - keras.ops.max(x, axis=0, keepdims=True)

    model = dense(keras, Spread())
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*data(), batch_size=BATCH, verbose=0)


def fit_mixup():
    x, _ = images()
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.MixUp(), keras.layers.Flatten()])
    model.compile("sgd", "mse")
    model.fit(x, x.reshape(len(x), -1), batch_size=BATCH, verbose=0)


def fit_stateful():
    inputs = keras.Input(batch_shape=(4, 3, 2))
    model = keras.Model(inputs, keras.layers.LSTM(2, stateful=True)(inputs))
    model.compile("sgd", "mse")
    model.fit(tf.zeros((8, 3, 2)), tf.zeros((8, 2)), batch_size=4, verbose=0)


def fit_fixed():
    inputs = keras.Input(batch_shape=(BATCH, 6), name="numbers")
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.fit(*data(rows=16), batch_size=BATCH, verbose=0)


def parameter_server():
    tf.distribute.ParameterServerStrategy(None)


def message(program, **environment):
    def row(_):
        os.environ.update(environment)
        keras.config.set_floatx("float32")
        try:
            program()
        except Refused as error:
            return {"message": str(error)}
        return {"message": ""}

    return row


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (fit_sum, ("the gradient of dense/kernel is", "tf.reduce_mean", "KERASJOB_ALLOW_INEXACT=1")),
        (fit_contrast, ("training step of Model does not give on 2 replicas", "compared with each other")),
        (fit_own_layer, ("training step of Sequential does not give",)),
        (fit_mixup, ("the layer mix_up (MixUp) mixes rows", "dataset.map(layer)")),
        (fit_stateful, ("the layer lstm is stateful", "stateful=False, or workers: 1")),
        (fit_fixed, ("the input numbers", "fixed batch size of 8", "Input(shape=...)")),
        (parameter_server, ("ParameterServerStrategy cannot run in a KerasJob", "MultiWorkerMirroredStrategy()")),
        (fit_mean, ()),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_way_out(program, words, tmp_path):
    messages = [result["message"] for result in run(message(program), Shape(2), tmp_path)]
    assert messages[0] == messages[1]
    assert bool(messages[0]) == bool(words), messages[0]
    for word in words:
        assert word in messages[0]


def test_an_inexact_step_trains_where_the_user_says_so(tmp_path):
    results = run(message(fit_sum, KERASJOB_ALLOW_INEXACT="1"), Shape(2), tmp_path)
    assert [result["message"] for result in results] == ["", ""]
    assert "does not give on 2 replicas what it gives on one" in (tmp_path / "0" / "log").read_text()
