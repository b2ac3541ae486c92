"""`fit` on several workers fails after its first step: the logs, which are scalars, are reduced over their axis 0.

Upstream: https://github.com/keras-team/keras/issues/20585. What Keras reduces here are results of metrics, whose
variables are summed over replicas when they are read: the local value is the value.
"""

from __future__ import annotations

from typing import Any

from keras.src import tree
from keras.src.backend.tensorflow import trainer as keras_trainer

VERSIONS = ("Keras 3.15 with TensorFlow 2.21",)
PATCHED = {
    keras_trainer.reduce_per_replica: ("2e7d54b1e6edc29a8c6a7e6b66cd4c8be3ba7842412c93753ac3afe169fa7fb8",),
}


def apply() -> None:
    """Wraps the function."""
    original = keras_trainer.reduce_per_replica

    def reduce_per_replica(values: Any, strategy: Any, reduction: str) -> Any:
        if keras_trainer._collective_all_reduce_multi_worker(strategy) and reduction in ("auto", "mean"):
            return tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], values)
        return original(values, strategy, reduction)

    keras_trainer.reduce_per_replica = reduce_per_replica
