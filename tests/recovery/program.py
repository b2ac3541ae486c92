"""What a kill matrix trains: two fits of a small model, with all that makes it hard to go on in the middle.

    program.py FEATURE [GATES]

Where a file is in the folder GATES named after a moment (`0-1-3`: before batch 3 of epoch 1 of fit 0; `0-1-v1`: before
batch 1 of the validation after that epoch; `between`: between the fits), the program waits there until the file is
gone, and says so by a file `MOMENT.reached-PID`.
"""

import os
import sys
import time
from collections import deque
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

FEATURE = sys.argv[1]
GATES = Path(sys.argv[2]) if len(sys.argv) > 2 else None
ROWS, BATCH = 92, 16  # six steps, the last one with 12 rows


def gate(moment):
    if GATES is None:
        return
    file = GATES / moment
    if file.exists():
        (GATES / f"{moment}.reached-{os.getpid()}").touch()
    while file.exists():
        time.sleep(0.01)


class Gate(keras.callbacks.Callback):
    """Also remembers what it has seen, as a callback of a user does."""

    def __init__(self, fit):
        super().__init__()
        self.fit, self.epoch, self.seen, self.largest = fit, 0, [], {}
        self.last = {}  # of each epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        gate(f"{self.fit}-{self.epoch}-{batch}")

    def on_train_batch_end(self, batch, logs=None):
        value = float(next(iter(logs.values())))
        self.seen.append(value)
        self.largest["loss"] = max(value, self.largest.get("loss", value))
        last, mean = self.last.setdefault(self.epoch, (deque(maxlen=2), np.zeros(1, np.float32)))
        last.append(np.float32(value))
        mean += np.mean(last)

    def on_test_batch_begin(self, batch, logs=None):
        gate(f"{self.fit}-{self.epoch}-v{batch}")


x = np.random.normal(size=(ROWS, 6)).astype("float32")
y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
images = np.random.normal(size=(ROWS, 6, 6, 1)).astype("float32") + y[:, :, None, None]
words = np.random.randint(0, 20, size=(ROWS, 5))


def classifier(*middle, inputs=None):
    model = keras.Sequential([keras.Input((6,)) if inputs is None else inputs, *middle, layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model


def arrays(features):
    return {"x": features, "y": y, "batch_size": BATCH, "validation_data": (features[:40], y[:40])}


def numpy_():
    return classifier(layers.Dense(8, "relu")), arrays(x)


def tf_data():
    """Unseeded shuffles, of validation too, and a map that draws."""

    def noisy(a, b):
        return a + tf.random.normal(tf.shape(a)), b

    rows = tf.data.Dataset.from_tensor_slices((x, y))
    data = rows.shuffle(ROWS).map(noisy).batch(BATCH).prefetch(2)
    return classifier(layers.Dense(8, "relu")), {"x": data, "validation_data": rows.shuffle(ROWS, seed=3).batch(BATCH)}


def augmented():
    middle = [
        layers.RandomFlip(),
        layers.RandomTranslation(0.2, 0.2),
        layers.GaussianNoise(0.1),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(8, "relu"),
    ]
    return classifier(*middle, inputs=keras.Input((6, 6, 1))), arrays(images)


def embedding():
    middle = [layers.Embedding(20, 4), layers.GlobalAveragePooling1D(), layers.Dense(8, "relu")]
    return classifier(*middle, inputs=keras.Input((5,), dtype="int64")), arrays(words)


def normalized():
    middle = [layers.Dense(8, use_bias=False), layers.BatchNormalization(synchronized=True), layers.ReLU()]
    return classifier(*middle), arrays(x)


def several_steps():
    model = classifier(layers.Dense(8, "relu"), layers.Dropout(0.2))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"], steps_per_execution=4)
    return model, arrays(x)


def gan():
    class Gan(keras.Model):
        def __init__(self):
            super().__init__()
            self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(6)])
            self.discriminator = keras.Sequential([keras.Input((6,)), layers.Dense(8, "tanh"), layers.Dense(1)])
            self.seeds = keras.random.SeedGenerator(11)
            self.d_loss, self.g_loss = keras.metrics.Mean(name="d_loss"), keras.metrics.Mean(name="g_loss")
            self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
            self.built = True

        def compile(self, of_discriminator, of_generator):
            super().compile()
            self.of_discriminator, self.of_generator = of_discriminator, of_generator

        def train_step(self, real):
            number = keras.ops.shape(real)[0]
            ones, zeros = keras.ops.ones((number, 1)), keras.ops.zeros((number, 1))
            both = keras.ops.concatenate([self.generator(keras.random.normal((number, 4), seed=self.seeds)), real], 0)
            with tf.GradientTape() as tape:
                loss = self.loss_of(keras.ops.concatenate([ones, zeros], 0), self.discriminator(both))
            weights = self.discriminator.trainable_weights
            self.of_discriminator.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            self.d_loss.update_state(loss)
            noise = keras.random.normal((number, 4), seed=self.seeds)
            with tf.GradientTape() as tape:
                loss = self.loss_of(zeros, self.discriminator(self.generator(noise)))
            weights = self.generator.trainable_weights
            self.of_generator.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            self.g_loss.update_state(loss)
            return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

        def test_step(self, real):
            self.d_loss.update_state(self.loss_of(keras.ops.zeros_like(real[:, :1]), self.discriminator(real)))
            return {"d_loss": self.d_loss.result()}

    model = Gan()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.05, momentum=0.9))
    return model, {"x": x, "batch_size": BATCH, "validation_data": x[:40]}


def batches():
    """A PyDataset that shuffles with numpy between epochs."""

    class Batches(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.order = np.arange(ROWS)

        def __len__(self):
            return -(-ROWS // BATCH)

        def __getitem__(self, index):
            rows = self.order[index * BATCH : (index + 1) * BATCH]
            return x[rows], y[rows]

        def on_epoch_end(self):
            np.random.shuffle(self.order)

    return classifier(layers.Dense(8, "relu")), {"x": Batches(), "validation_data": (x[:40], y[:40])}


def own_generators():
    """A PyDataset and a map whose items draw from generators of the program's own, and from TensorFlow's."""

    class Noisy(keras.utils.PyDataset):
        def __init__(self):
            super().__init__()
            self.random = np.random.default_rng(5)

        def __len__(self):
            return -(-ROWS // BATCH)

        def __getitem__(self, index):
            rows = slice(index * BATCH, (index + 1) * BATCH)
            noise = tf.random.normal([6]).numpy()
            return x[rows] + self.random.normal(size=6).astype("float32") + noise, y[rows]

    draws = np.random.RandomState(5)

    def noisy(a, b):
        drawn = tf.numpy_function(lambda a: a + draws.normal(size=6).astype("float32"), [a], tf.float32)
        return tf.ensure_shape(drawn, (6,)), b

    validation = tf.data.Dataset.from_tensor_slices((x, y)).map(noisy).batch(BATCH)
    return classifier(layers.Dense(8, "relu")), {"x": Noisy(), "validation_data": validation}


def generator():
    """A generator that draws as it goes. Keras reads ahead of it, so what is left to a next fit differs each time."""

    def rows():
        random = np.random.default_rng(5)
        while True:
            chosen = random.integers(0, ROWS, BATCH)
            yield x[chosen], y[chosen]

    model = classifier(layers.Dense(8, "relu"))
    return model, {"x": rows, "steps_per_epoch": 6, "validation_data": (x[:40], y[:40])}


def repeated():
    """`steps_per_epoch` cuts a shuffled, repeated dataset; the epochs are no passes over it.

    TensorFlow reads ahead into the next pass, so a next fit with the same dataset has another order each time.
    """

    def data():
        return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(30).batch(BATCH)

    model = classifier(layers.Dense(8, "relu"))
    return model, {"x": lambda: data().repeat(), "steps_per_epoch": 5, "validation_data": data(), "validation_steps": 3}


def unknown_length():
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(ROWS).filter(lambda a, b: a[0] > -1.5).batch(BATCH)
    return classifier(layers.Dense(8, "relu")), {"x": data, "validation_data": data.take(2)}


def decisions():
    """Callbacks that wait, remember and change the learning rate; a schedule; averaged weights."""
    model = classifier(layers.Dense(8, "relu"))
    optimizer = keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=4)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])
    kinds = keras.callbacks
    callbacks = [
        kinds.EarlyStopping("loss", patience=1, min_delta=1.0, restore_best_weights=True, start_from_epoch=1),
        kinds.ReduceLROnPlateau("val_loss", patience=0, min_delta=1.0, min_lr=0.01),
        kinds.ModelCheckpoint("best.weights.h5", save_weights_only=True, save_best_only=True),
        kinds.ModelCheckpoint("steps-{epoch}-{batch}.weights.h5", save_weights_only=True, save_freq=4),
    ]
    return model, {**arrays(x), "callbacks": callbacks}


FEATURES = {
    "numpy": numpy_,
    "tf.data": tf_data,
    "augmentation": augmented,
    "embedding": embedding,
    "batch normalization": normalized,
    "steps per execution": several_steps,
    "gan": gan,
    "PyDataset": batches,
    "own generators": own_generators,
    "generator": generator,
    "repeat": repeated,
    "unknown length": unknown_length,
    "decisions": decisions,
}

model, arguments = FEATURES[FEATURE]()
more = arguments.pop("callbacks", [])
for fit in range(2):
    watcher = Gate(fit)
    log = keras.callbacks.CSVLogger(f"log-{fit}.csv")
    data = arguments["x"]() if FEATURE in ("generator", "repeat") else arguments["x"]
    history = model.fit(**{**arguments, "x": data}, epochs=3 - fit, verbose=0, callbacks=[*more, log, watcher])
    # In one piece: the agent writes into the same file.
    sys.stdout.write(f"seen {fit} {history.epoch} {watcher.seen} {watcher.largest} {watcher.last}\n")
    sys.stdout.flush()
    if fit == 0:
        gate("between")
if FEATURE not in ("generator", "repeat"):
    model.evaluate(arguments["x"], arguments.get("y"), verbose=0)
