"""Fails in its own way: `fails.py third-step`, `fails.py exit`, `fails.py os-exit`."""

import os
import sys

import keras
import numpy as np


class Third(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise ValueError("the third step is the charm")


if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "os-exit":
    os._exit(4)
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((64, 2)), np.ones((64, 1)), batch_size=8, callbacks=[Third()], verbose=0)
