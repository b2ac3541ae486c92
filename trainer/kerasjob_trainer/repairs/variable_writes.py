"""A layer that writes a variable in a step (a moving average, a codebook) writes what its own rows say: with Keras's
default `aggregation="none"` the copies of the workers drift apart in silence, with "mean" the tail of an epoch counts
too much.

A float that is written in a step is an estimate of the global value: the weighted mean is written. Code whose writes
are the same anyway (optimizers, metrics, BatchNormalization) says so and pays nothing.
See https://www.tensorflow.org/api_docs/python/tf/VariableAggregation.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.distribute import values

from kerasjob_trainer.global_batch import collectives, rows

PATCHED = (values._on_write_update_replica,)


def apply() -> None:
    """Wraps the function."""
    original = values._on_write_update_replica

    def _on_write_update_replica(var: Any, update_fn: Any, value: Any, **kwargs: Any) -> Any:
        current = rows.current()
        if current is None:
            return original(var, update_fn, value, **kwargs)
        if not rows.replicated() and var.dtype.is_floating and tf.is_tensor(value):
            (value,) = collectives.weighted_mean([tf.cast(value, var.dtype)], current)
        return update_fn(var._get_on_device_or_primary(), value, **kwargs)

    values._on_write_update_replica = _on_write_update_replica
