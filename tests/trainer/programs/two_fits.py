"""A program for one machine with all that makes resuming hard: shuffle, Dropout, Adam, validation, two fits, no seed.

    two_fits.py DROPOUT EPOCHS [GATES]

Where a file `CALL-EPOCH-BATCH` is in the folder GATES, training waits before that batch until the file is gone, and
says so by a file `CALL-EPOCH-BATCH.reached-PID`.
"""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

DROPOUT = float(sys.argv[1])
EPOCHS = int(sys.argv[2])
GATES = Path(sys.argv[3]) if len(sys.argv) > 3 else None


class Gate(keras.callbacks.Callback):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        gate = GATES / f"{self.call}-{self.epoch}-{batch}"
        if gate.exists():
            (GATES / f"{gate.name}.reached-{os.getpid()}").touch()
        while gate.exists():
            time.sleep(0.02)


def gates(call):
    return [Gate(call)] if GATES else []


x = np.random.normal(size=(96, 6)).astype("float32")
y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
model = keras.Sequential(
    [keras.layers.Dense(8, "relu"), keras.layers.Dropout(DROPOUT), keras.layers.Dense(1, "sigmoid")]
)
model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=EPOCHS, validation_data=(x[:32], y[:32]), verbose=0, callbacks=gates(0))
print("between:", model.evaluate(x, y, batch_size=32, verbose=0), flush=True)  # noqa: T201
data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).batch(16)
history = model.fit(data, shuffle=False, epochs=EPOCHS, verbose=0, callbacks=gates(1))
print("epochs seen:", history.epoch, flush=True)  # noqa: T201
model.evaluate(x, y, batch_size=32, verbose=0)
