"""Custom training: train_step in all the documented styles, and what a user does inside of one."""

import keras
import numpy as np
import tensorflow as tf
from tests.fidelity.programs import BATCH, data, result
from tests.fidelity.table import feature


def _functional(kind, *layers):
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    for layer in layers:
        x = layer(x)
    return kind(inputs, keras.layers.Dense(1)(x))


def _target():
    x, _ = data()
    return x, x.sum(axis=1, keepdims=True)


def _fit(model, **options):
    x, y = _target()
    return result(model, model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, **options))


@feature("train_step with compute_loss and the metrics of compile")
def compute_loss_style(_):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    model = _functional(Model, keras.layers.Dropout(0.2))
    model.compile("adam", "mse", metrics=["mae"])
    return _fit(model)


@feature("train_step with trackers of its own")
def own_trackers(_):
    class Model(keras.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.loss_tracker = keras.metrics.Mean(name="loss")
            self.mae_metric = keras.metrics.MeanAbsoluteError(name="mae")
            self.loss_fn = keras.losses.MeanSquaredError()

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.loss_fn(y, y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            self.loss_tracker.update_state(loss)
            self.mae_metric.update_state(y, y_pred)
            return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

        @property
        def metrics(self):
            return [self.loss_tracker, self.mae_metric]

    model = _functional(Model)
    model.compile("sgd")
    return _fit(model)


@feature("train_step that returns its own loss, with the gradient clipped by hand")
def own_loss(_):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(y - self(x, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            gradients, norm = tf.clip_by_global_norm(gradients, 0.1)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss, "norm": norm}

        def test_step(self, data):
            x, y = data
            return {"loss": tf.reduce_mean(tf.square(y - self(x, training=False)))}

    model = _functional(Model)
    model.compile("sgd")
    return _fit(model)


@feature("train_step with compiled_loss and compiled_metrics")
def compiled_style(_):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compiled_loss(y, y_pred, regularization_losses=self.losses)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            self.compiled_metrics.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    model = _functional(Model)
    model.compile("sgd", "mse", metrics=["mae"])
    return _fit(model)


@feature("train_step with sample weights, and compute_loss overridden")
def overridden_loss(_):
    class Model(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = keras.ops.mean(keras.ops.square(y - y_pred) * keras.ops.reshape(sample_weight, (-1, 1)))
            return loss + 0.01 * keras.ops.sum(keras.ops.square(self.trainable_variables[0]))

    model = _functional(Model)
    model.compile("sgd", "mse")
    return _fit(model, sample_weight=np.linspace(0.1, 2.0, 29))


@feature("a GAN with two optimizers, two tapes and noise of its own")
def gan(_):
    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            layers = keras.layers
            self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(6)])
            self.discriminator = keras.Sequential(
                [keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dropout(0.2), layers.Dense(1)]
            )
            self.seed_generator = keras.random.SeedGenerator(11)
            self.built = True

        def compile(self, d_optimizer, g_optimizer, loss_fn):
            super().compile()
            self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn
            self.d_loss = keras.metrics.Mean(name="d_loss")
            self.g_loss = keras.metrics.Mean(name="g_loss")

        @property
        def metrics(self):
            return [self.d_loss, self.g_loss]

        def train_step(self, real):
            batch_size = keras.ops.shape(real)[0]
            noise = keras.random.normal((batch_size, 4), seed=self.seed_generator)
            both = keras.ops.concatenate([self.generator(noise), real], axis=0)
            labels = keras.ops.concatenate([keras.ops.ones((batch_size, 1)), keras.ops.zeros((batch_size, 1))], axis=0)
            with tf.GradientTape() as tape:
                d_loss = self.loss_fn(labels, self.discriminator(both))
            gradients = tape.gradient(d_loss, self.discriminator.trainable_weights)
            self.d_optimizer.apply_gradients(zip(gradients, self.discriminator.trainable_weights))
            noise = keras.random.normal((batch_size, 4), seed=self.seed_generator)
            with tf.GradientTape() as tape:
                g_loss = self.loss_fn(keras.ops.zeros((batch_size, 1)), self.discriminator(self.generator(noise)))
            gradients = tape.gradient(g_loss, self.generator.trainable_weights)
            self.g_optimizer.apply_gradients(zip(gradients, self.generator.trainable_weights))
            self.d_loss.update_state(d_loss)
            self.g_loss.update_state(g_loss)
            return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

    model = Gan()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1), loss)
    x, _ = data()
    history = model.fit(x, batch_size=BATCH, epochs=2, verbose=0)
    return result(model, history, optimizers=[model.d_optimizer, model.g_optimizer])


@feature("a gradient penalty: a tape inside a tape, with respect to the rows")
def gradient_penalty(_):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    y_pred = self(x, training=True)
                slopes = inner.gradient(y_pred, x)
                norm = tf.sqrt(tf.reduce_sum(tf.square(slopes), axis=1) + 1e-9)
                loss = tf.reduce_mean(tf.square(y - y_pred)) + tf.reduce_mean(tf.square(norm - 1.0))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

    model = _functional(Model)
    model.compile("sgd")
    return _fit(model)


@feature("train_step and a helper in tf.function, with BatchNormalization")
def nested_function(_):
    @tf.function
    def distance(a, b):
        return tf.reduce_mean(tf.square(a - b))

    class Model(keras.Model):
        @tf.function
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = distance(y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            for metric in self.metrics:
                metric.update_state(loss)
            return {"loss": loss}

        def test_step(self, data):
            x, y = data
            return {"loss": distance(y, self(x, training=False))}

    model = _functional(Model, keras.layers.BatchNormalization(), keras.layers.Dropout(0.2))
    model.compile("sgd")
    return _fit(model, validation_data=_target())


@feature("raw tf.random in a train_step")
def raw_random(_):
    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            noisy = x + tf.cast(tf.random.normal(tf.shape(x)), x.dtype)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(y - self(noisy, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

    model = _functional(Model)
    model.compile("sgd")
    return _fit(model)
