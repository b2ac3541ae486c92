"""Evaluates for longer than a step may take, within a fit; then evaluates and predicts, from data that hangs.

    evaluates.py BATCHES GATES

Of so many batches each comes after a second. What predict reads waits until the folder GATES holds no file `hung`.
"""

import sys
import time
from pathlib import Path

import keras
import numpy as np

BATCHES, GATES = int(sys.argv[1]), Path(sys.argv[2])
x, y = np.ones((4, 3)), np.ones((4, 1))


def slow():
    for _ in range(BATCHES):
        time.sleep(1)
        yield x, y


def hung():
    while (GATES / "hung").exists():
        time.sleep(0.1)
    yield x


model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
within = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: model.evaluate(slow(), verbose=0))
model.fit(x, y, batch_size=2, verbose=0, callbacks=[within])
model.evaluate(x, y, verbose=0)
print("evaluated", flush=True)  # noqa: T201
model.predict(hung(), verbose=0)
