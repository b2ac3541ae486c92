"""`fit` on several workers fails after its first step: the logs, which are scalars, are reduced over their axis 0.

What a step returns is global and the same on all replicas: the local value is the value.
Upstream: https://github.com/keras-team/keras/issues/20585.
"""

from __future__ import annotations

from typing import Any

from keras.src import tree
from keras.src.backend.tensorflow import trainer as keras_trainer

PATCHED = (keras_trainer.reduce_per_replica,)


def apply() -> None:
    """Replaces the function."""

    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        return tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)

    keras_trainer.reduce_per_replica = reduce_per_replica
