"""Data that can only be read again, from a slow source: a generator that waits before each batch on the worker whose
number is in the file `slow` of the folder, and for ever while there is a file `hung`.

    slow_data.py GATES
"""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np

GATES = Path(sys.argv[1])
SECONDS, STEPS = 0.4, 20


def rows():
    random = np.random.default_rng(5)
    while True:
        if (GATES / "slow").exists() and (GATES / "slow").read_text() == os.environ["KERASJOB_SLOT"]:
            time.sleep(SECONDS)
        while (GATES / "hung").exists():
            time.sleep(0.01)
        x = random.normal(size=(8, 2)).astype("float32")
        yield x, x.sum(axis=1, keepdims=True)


class Gate(keras.callbacks.Callback):
    epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        file = GATES / f"{self.epoch}-{batch}"
        if file.exists():
            (GATES / f"{file.name}.reached-{os.getpid()}").touch()
        while file.exists():
            time.sleep(0.01)


model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(rows(), steps_per_epoch=STEPS, epochs=2, verbose=0, callbacks=[Gate()])
