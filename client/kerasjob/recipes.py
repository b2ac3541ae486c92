"""Checks a recipe as a worker would, where Keras is installed. Called by `kerasjob validate`.

In a process of its own: the client never imports the trainer, let alone TensorFlow.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

COMMAND = (sys.executable, "-m", "kerasjob_trainer.recipe")
NEEDS = ("keras", "tensorflow", "kerasjob_trainer")


def keras_faults(recipe: dict[str, Any]) -> list[str] | None:
    """What Keras has against the names and arguments of a recipe; None where it is not here to be asked."""
    if any(importlib.util.find_spec(name) is None for name in NEEDS):
        return None
    # No device is touched, and what TensorFlow says while it is imported is no answer.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    run = subprocess.run(COMMAND, input=json.dumps(recipe), capture_output=True, text=True, env=env)
    if run.returncode != 0:
        return [
            f"spec.program.recipe: cannot be checked here: {(run.stderr.strip().splitlines() or ['no answer'])[-1]}"
        ]
    faults: list[str] = json.loads(run.stdout.splitlines()[-1])
    return faults
