"""The state of a program's callbacks: what EarlyStopping has waited, the best loss so far. Used by the session.

Of Keras's own callbacks those attributes that decide what comes next; of the program's own all public ones that are
plain values. Files, models and locks stay what the program makes anew.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_PREFIX = "kerasjob.callback"
_OF_KERAS: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_weights", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving"),
}
_OURS = ("model", "params")  # set by Keras for each call

Tensors = dict[str, np.ndarray[Any, Any]]


def capture(callbacks: list[Any]) -> tuple[list[dict[str, Any]], Tensors]:
    """Plain values of each callback, and arrays by name."""
    records, tensors = [], Tensors()
    for index, callback in enumerate(callbacks):
        values: dict[str, Any] = {}
        for name in _names(callback):
            value = getattr(callback, name, None)
            if isinstance(value, (bool, int, float, str)) or value is None:
                values[name] = value
            elif isinstance(value, (np.integer, np.floating)):
                values[name] = value.item()
            elif isinstance(value, list) and value and all(isinstance(v, np.ndarray) for v in value):
                values[name] = {"arrays": len(value)}
                tensors |= {f"{_PREFIX}/{index}/{name}/{i}": np.array(v, order="C") for i, v in enumerate(value)}
        records.append({"type": type(callback).__qualname__, "values": values})
    return records, tensors


def restore(callbacks: list[Any], records: list[dict[str, Any]], tensors: Tensors) -> None:
    """Sets what was captured; a callback that is another one now keeps what it has."""
    for index, (callback, record) in enumerate(zip(callbacks, records, strict=False)):
        if type(callback).__qualname__ != record["type"]:
            continue
        for name, value in record["values"].items():
            if isinstance(value, dict):
                value = [tensors[f"{_PREFIX}/{index}/{name}/{i}"] for i in range(value["arrays"])]
            setattr(callback, name, value)


def split(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Variables of the model, and arrays of callbacks."""
    of_callbacks = {name: value for name, value in tensors.items() if name.startswith(f"{_PREFIX}/")}
    return {name: value for name, value in tensors.items() if name not in of_callbacks}, of_callbacks


def _names(callback: Any) -> list[str]:
    for known, names in _OF_KERAS.items():
        if isinstance(callback, known):
            return [name for name in names if hasattr(callback, name)]
    bases = [base for base in type(callback).__mro__ if base.__module__.partition(".")[0] == "keras"]
    if len(bases) > 1:
        return []  # what else Keras has is settings, files and threads
    return [name for name in vars(callback) if not name.startswith("_") and name not in _OURS]
