"""Layers that see more than a row, draw random numbers or keep a state."""

import keras
import numpy as np
from tests.fidelity.programs import BATCH, data, dense, images, result
from tests.fidelity.table import feature


def _train(*layers, epochs=2, **options):
    model = dense(keras, *layers)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=epochs, validation_data=data(seed=9), verbose=0))


def _images(*layers, epochs=2):
    x, y = images()
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return result(model, model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0))


@feature("BatchNormalization")
def batch_normalization(_):
    return _train(keras.layers.BatchNormalization())


@feature("BatchNormalization, synchronized=True")
def batch_normalization_synchronized(_):
    return _train(keras.layers.BatchNormalization(synchronized=True))


@feature("BatchNormalization with renorm, of images, with large means", float32=1e-3, reason="cancellation")
def batch_normalization_images(_):
    layers = keras.layers
    return _images(
        layers.Rescaling(1.0, offset=100.0),
        layers.BatchNormalization(),
        layers.Conv2D(3, 3, activation="tanh"),
        layers.BatchNormalization(renorm=True),
    )


@feature("BatchNormalization with a mask")
def batch_normalization_masked(_):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(29, 5, 4))
    x[rng.random((29, 5)) < 0.4] = 0.0
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((5, 4)), layers.Masking(), layers.BatchNormalization(), layers.LSTM(3), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    return result(model, model.fit(x, x[:, 0, :1], batch_size=BATCH, epochs=2, verbose=0))


@feature("masks: the loss of a sequence divides by what is valid")
def masked_sequences(_):
    rng = np.random.default_rng(4)
    x, y = rng.integers(1, 10, (29, 6)), rng.integers(0, 4, (29, 6))
    x[rng.random((29, 6)) < 0.4] = 0
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(10, 4, mask_zero=True),
            layers.LSTM(5, return_sequences=True),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    return result(model, model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0))


@feature("Conv2D, pooling, LayerNormalization, GroupNormalization")
def convolution(_):
    layers = keras.layers
    return _images(
        layers.Conv2D(4, 3, activation="tanh"),
        layers.LayerNormalization(),
        layers.AveragePooling2D(2),
        layers.SeparableConv2D(4, 2),
        layers.GroupNormalization(2),
    )


@feature("Dropout, SpatialDropout, with and without a seed")
def dropout(_):
    layers = keras.layers
    return _images(
        layers.Dropout(0.3),
        layers.Conv2D(4, 3, activation="tanh"),
        layers.SpatialDropout2D(0.4, seed=5),
        layers.Flatten(),
        layers.Dense(7, activation="tanh"),
        layers.Dropout(0.5, noise_shape=(None, 1), seed=3),
    )


@feature("GaussianNoise, GaussianDropout, AlphaDropout")
def noise(_):
    layers = keras.layers
    return _train(layers.GaussianNoise(0.5), layers.GaussianDropout(0.3), layers.AlphaDropout(0.2))


@feature(
    "augmentation: RandomFlip, RandomRotation, RandomZoom, RandomTranslation, RandomContrast, RandomBrightness",
    float64=None,
    note="RandomRotation of Keras needs float32",
)
def augmentation(_):
    layers = keras.layers
    return _images(
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.2),
        layers.RandomZoom(0.2),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.3),
        layers.RandomBrightness(0.2, value_range=(-3, 3)),
    )


@feature("augmentation: RandomErasing, RandomShear", float64=None, note="RandomShear of Keras needs float32")
def more_augmentation(_):
    layers = keras.layers
    return _images(layers.RandomErasing(), layers.RandomShear(0.1, 0.1))


@feature("Dropout, with batches of one size that is known")
def dropout_known_size(_):
    import tensorflow as tf

    x, y = data(rows=24)
    model = dense(keras, keras.layers.Dropout(0.4))
    model.compile("sgd", "sparse_categorical_crossentropy")
    numpy = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH, drop_remainder=True)
    found = result(model, model.fit(batches, epochs=2, verbose=0))
    logs = [model.train_on_batch(x[:8], y[:8]) for _ in range(2)]
    return found | {"numpy": numpy.history["loss"], "on batch": logs}


@feature("recurrent layers: LSTM, GRU, Bidirectional, recurrent_dropout")
def recurrent(_):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(29, 5, 4))
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.GRU(3, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    return result(model, model.fit(x, x[:, 0, :1], batch_size=BATCH, epochs=2, verbose=0))


@feature("MultiHeadAttention with dropout", float32=1e-3, reason="the gradient of a bias is zero but for rounding")
def attention(_):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(29, 5, 4))
    inputs = keras.Input((5, 4))
    hidden = keras.layers.MultiHeadAttention(2, 3, dropout=0.2)(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(hidden)))
    model.compile("sgd", "mse")
    return result(model, model.fit(x, x[:, 0, :1], batch_size=BATCH, epochs=2, verbose=0))


@feature("SpectralNormalization, UnitNormalization")
def spectral(_):
    layers = keras.layers
    return _train(layers.SpectralNormalization(layers.Dense(6, activation="tanh")), layers.UnitNormalization())


@feature("Normalization and Discretization with adapt")
def adapted(_):
    x, _ = data()
    normalization, bins = keras.layers.Normalization(), keras.layers.Discretization(num_bins=4, output_mode="one_hot")
    normalization.adapt(x)
    bins.adapt(x[:, :1])
    inputs = keras.Input((6,))
    both = keras.layers.Concatenate()([normalization(inputs), bins(inputs[:, :1])])
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(both))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return result(model, model.fit(*data(), batch_size=BATCH, epochs=2, verbose=0), vocabulary=bins.bin_boundaries)


@feature("a layer of the program's own that keeps a moving average of its input")
def moving_average(_):
    class Centered(keras.layers.Layer):
        def build(self, shape):
            self.mean = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)

        def call(self, x, training=False):
            if training:
                self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(x, axis=0))
            return x - self.mean

    return _train(Centered())


@feature("add_loss and add_metric of a layer: a variational autoencoder")
def variational(_):
    class Sampling(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(3)

        def call(self, inputs):
            mean, log_variance = inputs
            noise = keras.random.normal(keras.ops.shape(mean), seed=self.seed_generator)
            penalty = 1 + log_variance - keras.ops.square(mean) - keras.ops.exp(log_variance)
            self.add_loss(-0.5 * keras.ops.mean(keras.ops.sum(penalty, axis=1)))
            return mean + keras.ops.exp(0.5 * log_variance) * noise

    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(5, activation="tanh")(inputs)
    code = Sampling()([keras.layers.Dense(2)(hidden), keras.layers.Dense(2)(hidden)])
    model = keras.Model(inputs, keras.layers.Dense(6)(code))
    model.compile("sgd", "mse")
    x, _ = data()
    return result(model, model.fit(x, x, batch_size=BATCH, epochs=2, verbose=0))
