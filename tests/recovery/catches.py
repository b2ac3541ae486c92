"""Programs that catch the loss of a worker in their own way.

    catches.py KIND GATES

Where the file `step` is in the folder GATES, the third step of the second epoch waits for it to go.
"""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

KIND, GATES = sys.argv[1], Path(sys.argv[2])
EPOCHS = 3


def gate():
    file = GATES / "step"
    if file.exists():
        (GATES / f"step.reached-{os.getpid()}").touch()
    while file.exists():
        time.sleep(0.01)


class Gate(keras.callbacks.Callback):
    epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            gate()


x = np.random.normal(size=(64, 2)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")


def train():
    model.fit(x, y, batch_size=16, epochs=EPOCHS, verbose=0, callbacks=[Gate()])


def sum_in_a_loop_of_its_own():
    for step in range(6):
        if step == 3:
            gate()
        tf.distribute.get_strategy().reduce("SUM", tf.constant(1.0), axis=None)


if KIND == "finally":
    try:
        train()
    finally:
        print("cleaned up", flush=True)  # noqa: T201
elif KIND == "swallowed, and trains again":
    for _ in range(2):
        try:
            train()
        except:  # noqa: E722
            print("goes on", flush=True)  # noqa: T201
else:
    try:
        sum_in_a_loop_of_its_own() if "own loop" in KIND else train()
    except Exception as error:  # what most programs catch
        print("seen:", type(error).__name__, flush=True)  # noqa: T201
        if "exit" in KIND:
            sys.exit(1)
        if "other" in KIND:
            raise RuntimeError("training failed") from error
    except BaseException:
        print("seen by what catches all", flush=True)  # noqa: T201
        if KIND == "all, and ends the process":
            os._exit(0)
        if KIND == "all, and exits":
            sys.exit(1)
