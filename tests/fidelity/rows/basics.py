"""fit, evaluate, predict, and what compile takes."""

import keras
import numpy as np
from tests.fidelity.programs import BATCH, data, dense, result
from tests.fidelity.table import feature


def _compiled(model, **options):
    model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options})
    return model


@feature("fit from numpy, shuffled, with a tail")
def numpy_fit(_):
    model = _compiled(dense(keras))
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=3, verbose=0))


@feature("keras.backend.clear_session() between two models")
def cleared_session(_):
    first = _compiled(dense(keras))
    first.fit(*data(), batch_size=BATCH, verbose=0)
    keras.backend.clear_session()
    layers = [
        keras.layers.Dense(8, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(3, "softmax"),
    ]
    model = _compiled(keras.Sequential(layers))  # built by fit, long after the session was cleared
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=2, verbose=0))


@feature("fit with fewer rows in a batch than workers")
def tiny_batches(_):
    model = _compiled(dense(keras))
    return result(model, model.fit(*data(rows=5), batch_size=2, epochs=2, verbose=0))


@feature("evaluate and predict")
def evaluate_predict(_):
    model = _compiled(dense(keras))
    x, y = data()
    history = model.fit(x, y, batch_size=BATCH, verbose=0)
    scores = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
    return result(model, history, predictions=model.predict(x, batch_size=BATCH, verbose=0), **scores)


@feature("train_on_batch of a model that is not built")
def on_batch_unbuilt(_):
    x, y = data()
    model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    logs = [model.train_on_batch(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    logs.append(model.train_on_batch(x[:1], y[:1]))
    return result(model, logs=logs)


@feature("train_on_batch, test_on_batch, predict_on_batch")
def on_batch(_):
    model = _compiled(dense(keras))
    x, y = data()
    logs = [model.train_on_batch(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    return result(model, logs=logs, test=model.test_on_batch(x, y), predictions=model.predict_on_batch(x))


@feature("validation_data, validation_split, validation_freq")
def validation(_):
    x, y = data()
    model = _compiled(dense(keras))
    given = model.fit(x, y, batch_size=BATCH, epochs=2, validation_data=data(rows=13, seed=5), verbose=0)
    split = model.fit(x, y, batch_size=BATCH, epochs=4, validation_split=0.3, validation_freq=2, verbose=0)
    return result(model, given, **{f"split {k}": v for k, v in split.history.items()})


@feature("sample weights and class weights")
def weights(_):
    x, y = data()
    model = _compiled(dense(keras), weighted_metrics=["accuracy"])
    by_class = model.fit(x, y, batch_size=BATCH, class_weight={0: 1.0, 1: 2.0, 2: 0.5}, verbose=0)
    sample = np.linspace(0.1, 2.0, len(x))
    by_sample = model.fit(x, y, batch_size=BATCH, sample_weight=sample, verbose=0)
    return result(model, by_class, **{f"sample {k}": v for k, v in by_sample.history.items()})


@feature("metrics: AUC, precision, recall, F1, R2, mean absolute error")
def metrics(_):
    x, y = data()
    kinds = keras.metrics
    model = _compiled(
        dense(keras),
        loss="categorical_crossentropy",
        metrics=[
            kinds.AUC(),
            kinds.Precision(),
            kinds.Recall(),
            kinds.F1Score(average="macro"),
            "mae",
            kinds.R2Score(),
        ],
    )
    return result(model, model.fit(x, np.eye(3)[y], batch_size=BATCH, epochs=2, verbose=0))


@feature("metrics of the program's own: a function, a maximum, a mean of batches")
def own_metrics(_):
    def largest_error(y_true, y_pred):
        return keras.ops.max(keras.ops.abs(y_pred))  # of a batch, not of its rows

    class Maximum(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="maximum")
            self.value = self.add_weight(name="value", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

        def result(self):
            return self.value

    model = _compiled(dense(keras), metrics=[largest_error, Maximum()])
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=2, verbose=0))


@feature("a metric of the program's own that looks at weights, and at tokens of a sequence")
def own_metric_of_tokens(_):
    class Tokens(keras.metrics.Metric):
        def __init__(self, layer):
            super().__init__(name="tokens")
            self.layer = layer
            self.value = self.add_weight(name="value", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            flat = keras.ops.reshape(y_pred, (-1, 3))
            spread = keras.ops.std(flat) + keras.ops.sum(keras.ops.abs(self.layer.kernel))
            self.value.assign(keras.ops.maximum(self.value, spread))

        def result(self):
            return self.value

    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(29, 5, 4)), rng.integers(0, 3, (29, 5))
    last = keras.layers.Dense(3, activation="softmax")
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(6, return_sequences=True), last])
    _compiled(model, metrics=[Tokens(last)])
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    tokens = keras.Sequential([model, keras.layers.Lambda(lambda z: keras.ops.reshape(z, (-1, 3)))])
    return result(model, history, tokens=tokens.predict(x, batch_size=BATCH, verbose=0))


@feature("several inputs and outputs, loss_weights")
def several_outputs(_):
    x, y = data()
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    hidden = keras.layers.Dense(8, activation="tanh")(keras.layers.Concatenate()([a, b]))
    outputs = {
        "kind": keras.layers.Dense(3, activation="softmax", name="kind")(hidden),
        "size": keras.layers.Dense(1, name="size")(hidden),
    }
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile(
        "adam",
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        loss_weights={"kind": 1.0, "size": 0.3},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
    )
    target = {"kind": y, "size": x.sum(axis=1, keepdims=True)}
    return result(model, model.fit({"a": x, "b": x[::-1]}, target, batch_size=BATCH, epochs=2, verbose=0))


def _loss_row(loss, **options):
    x, y = data()
    model = _compiled(dense(keras, **options), loss=loss, metrics=[])
    return result(model, model.fit(x, np.eye(3)[y], batch_size=BATCH, epochs=2, verbose=0))


@feature("loss with reduction sum")
def loss_sum(_):
    return _loss_row(keras.losses.CategoricalCrossentropy(reduction="sum"))


@feature("loss with reduction mean_with_sample_weight")
def loss_mean_with_sample_weight(_):
    x, y = data()
    model = _compiled(dense(keras), loss=keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), metrics=[])
    sample = np.linspace(0.1, 2.0, len(x))
    return result(model, model.fit(x, np.eye(3)[y], batch_size=BATCH, sample_weight=sample, epochs=2, verbose=0))


@feature("loss of the program's own, as a function")
def loss_function(_):
    return _loss_row(lambda t, p: keras.ops.mean(keras.ops.square(t - p), axis=-1) + 0.01 * keras.ops.sum(p, axis=-1))


@feature("run_eagerly")
def eager(_):
    model = _compiled(dense(keras, keras.layers.Dropout(0.3)), run_eagerly=True)
    return result(model, model.fit(*data(rows=13), batch_size=BATCH, epochs=2, verbose=0))


@feature("jit_compile", note="steps run without XLA where there is no NCCL")
def jit_compile(_):
    model = _compiled(dense(keras), jit_compile=True)
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=2, verbose=0))


@feature("steps_per_execution")
def steps_per_execution(_):
    model = _compiled(dense(keras), steps_per_execution=3)
    history = model.fit(*data(rows=45), batch_size=BATCH, epochs=2, validation_data=data(rows=13, seed=5), verbose=0)
    return result(model, history, predictions=model.predict(data()[0], batch_size=BATCH, verbose=0))


@feature("steps_per_epoch on a repeated dataset")
def steps_per_epoch(_):
    import tensorflow as tf

    model = _compiled(dense(keras))
    dataset = tf.data.Dataset.from_tensor_slices(data()).shuffle(16, seed=3).repeat().batch(BATCH)
    return result(model, model.fit(dataset, steps_per_epoch=5, epochs=3, verbose=0))
