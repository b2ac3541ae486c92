"""Many short calls of `fit`, as in a loop with a decision of the program's own after each.

    many_calls.py CALLS [GATES]

A second model is trained once, before; a model of its own is trained every tenth round. Where a file GATES/N is, call N
waits in its second step until it is gone, and says so by GATES/N.reached-PID.
"""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np

CALLS = int(sys.argv[1])
GATES = Path(sys.argv[2]) if len(sys.argv) > 2 else None


class Gate(keras.callbacks.Callback):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def on_train_batch_end(self, batch, logs=None):
        if GATES is None or batch != 1:
            return
        file = GATES / str(self.call)
        if file.exists():
            (GATES / f"{self.call}.reached-{os.getpid()}").touch()
        while file.exists():
            time.sleep(0.01)


def make():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    return model


x = np.random.normal(size=(24, 3)).astype("float32")
y = x.sum(axis=1, keepdims=True)
teacher, student = make(), make()
teacher.fit(x, y, batch_size=8, verbose=0)
best, calls = None, 0
for round_ in range(CALLS):
    noisy = x + np.random.normal(scale=0.1, size=x.shape)
    history = student.fit(noisy, y, batch_size=8, verbose=0, callbacks=[Gate(round_)])
    loss, _ = student.evaluate(x, y, verbose=0)
    if best is None or loss < best:
        best = loss
        student.save_weights("best.weights.h5")
    print("round", round_, history.history["loss"][0], loss, best, flush=True)  # noqa: T201
    if round_ % 10 == 9:
        make().fit(x, y, batch_size=8, verbose=0)
print("teacher", float(teacher.predict(x, verbose=0).sum()), flush=True)  # noqa: T201
student.load_weights("best.weights.h5")
print("best", student.evaluate(x, y, verbose=0), flush=True)  # noqa: T201
