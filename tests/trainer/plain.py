"""Runs a program as `python program args` would, with the seed and the order of rows that a job has, and its histories
written after.

plain.py SEED OUT PROGRAM ARGS...
"""

import json
import runpy
import sys

import keras
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

from kerasjob_trainer.trainer import array_order

seed, out, program, *args = sys.argv[1:]
keras.utils.set_random_seed(int(seed))
array_order.apply()
histories, fit = [], TensorFlowTrainer.fit


def recording(self, *a, **k):
    history = fit(self, *a, **k)
    histories.append({key: [float(v) for v in values] for key, values in history.history.items()})
    return history


TensorFlowTrainer.fit = recording
sys.argv = [program, *args]
runpy.run_path(program, run_name="__main__")
with open(out, "w") as file:  # noqa: PTH123
    json.dump(histories, file)
