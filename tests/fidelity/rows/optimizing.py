"""Optimizers: clipping, accumulation, averaging, schedules, loss scaling, sparse gradients."""

import keras
import numpy as np
from tests.fidelity.programs import BATCH, data, dense, result
from tests.fidelity.table import feature


def _train(optimizer, *layers, epochs=3, **options):
    model = dense(keras, *layers)
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=epochs, verbose=0))


@feature("Adam", float32=1e-2, reason="divides by the root of tiny second moments")
def adam(_):
    return _train(keras.optimizers.Adam(0.01))


@feature("AdamW with weight decay, RMSprop, Nadam, Adagrad", float32=1e-2, reason="as Adam")
def other_optimizers(_):
    kinds = keras.optimizers
    found = {}
    for kind in (kinds.AdamW(0.01, weight_decay=0.02), kinds.RMSprop(0.01), kinds.Nadam(0.01), kinds.Adagrad(0.01)):
        found |= {f"{type(kind).__name__} {k}": v for k, v in _train(kind, epochs=1).items()}
    return found


@feature("clipnorm")
def clipnorm(_):
    return _train(keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.05))


@feature("global_clipnorm")
def global_clipnorm(_):
    return _train(keras.optimizers.SGD(0.1, global_clipnorm=0.05))


@feature("clipvalue")
def clipvalue(_):
    return _train(keras.optimizers.SGD(0.1, clipvalue=0.01))


@feature("gradient_accumulation_steps")
def gradient_accumulation(_):
    return _train(keras.optimizers.SGD(0.1, gradient_accumulation_steps=3, clipnorm=0.05))


@feature("use_ema with ema_overwrite_frequency")
def ema(_):
    return _train(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3))


@feature("EMA swapped by a callback")
def ema_swap(_):
    model = dense(keras)
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8), "sparse_categorical_crossentropy")
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=2, callbacks=[swap], verbose=0))


@feature("learning-rate schedules")
def schedules(_):
    kinds = keras.optimizers.schedules
    found = {}
    for kind in (kinds.CosineDecay(0.1, 10), kinds.PiecewiseConstantDecay([3, 6], [0.1, 0.05, 0.01])):
        found |= {f"{type(kind).__name__} {k}": v for k, v in _train(keras.optimizers.SGD(kind)).items()}
    return found


@feature("weight constraints and regularizers, of weights and of activities")
def constraints(_):
    layers = keras.layers
    return _train(
        keras.optimizers.SGD(0.1),
        layers.Dense(
            8,
            activation="tanh",
            kernel_constraint="unit_norm",
            kernel_regularizer=keras.regularizers.L1L2(0.01, 0.01),
            activity_regularizer=keras.regularizers.L2(0.01),
        ),
        layers.ActivityRegularization(l1=0.01),
    )


@feature("Embedding: sparse gradients, with clipnorm", float32=1e-4, reason="clipped by a norm of sparse sums")
def embedding(_):
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 20, (29, 5)), rng.integers(0, 2, 29)
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(20, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01, clipnorm=0.1), "binary_crossentropy", metrics=["accuracy"])
    return result(model, model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0))


@feature("loss scaling, with an overflow in the rows of one worker")
def loss_scaling(_):
    inner = keras.optimizers.SGD(0.1)
    x, y = data()
    x = x.copy()
    x[3] = 1e305 if keras.config.floatx() == "float64" else 1e38  # the first worker's rows of the first batch
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=1024.0, dynamic_growth_steps=4), "mse")
    history = model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
    found = result(model, history)
    return {name: value for name, value in found.items() if not name.startswith("log")}


@feature("mixed_float16", float32=2e-2, reason="half precision has three digits", float64=2e-2)
def mixed_float16(_):
    keras.config.set_dtype_policy("mixed_float16")
    return _train(keras.optimizers.SGD(0.1), epochs=2)


@feature("mixed_bfloat16", float32=5e-2, reason="bfloat16 has two digits", float64=5e-2)
def mixed_bfloat16(_):
    keras.config.set_dtype_policy("mixed_bfloat16")
    return _train(keras.optimizers.SGD(0.1), epochs=2)
