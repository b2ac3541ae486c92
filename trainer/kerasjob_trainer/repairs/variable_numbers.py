"""`float(model.optimizer.learning_rate)` and `f"{rate:.4f}"` in a callback fail with a variable of several replicas,
which is no number: "float() argument must be a string or a real number, not 'MirroredVariable'"; `np.array` of one
fails too: "object __array__ method not producing an array".

Its value is the number, as it is of a variable of one process.
See https://www.tensorflow.org/api_docs/python/tf/distribute/DistributedValues.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.python.distribute.values import DistributedVariable

PATCHED = (DistributedVariable._get_cross_replica,)


def _format(self: Any, spec: str) -> str:
    return format(self._primary.numpy().item(), spec) if spec else str(self)


def _array(self: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    return np.array(self._primary.numpy(), dtype)  # always one of its own, which any `copy` allows but for False


def apply() -> None:
    """Adds the methods."""

    def number(kind: Any) -> Any:
        def convert(self: Any) -> Any:
            return kind(self._primary.numpy())

        return convert

    DistributedVariable.__float__ = number(float)
    DistributedVariable.__int__ = number(int)
    DistributedVariable.__index__ = number(lambda value: value.__index__())
    DistributedVariable.__format__ = _format
    DistributedVariable.__array__ = _array
