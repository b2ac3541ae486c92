"""BatchNormalization normalizes with the mean and variance of each worker's own rows, and the moving statistics of the
workers drift apart. `synchronized=True` takes those of the global batch, but by E[x^2] - E[x]^2, which is not what one
process computes and loses all digits where the mean is large.

In a step the statistics are those of the global batch, by the formula that one process uses: first the mean, then the
mean of the squared distances from it.
Upstream: https://github.com/tensorflow/tensorflow/issues/18222.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from keras.src.backend.config import epsilon
from keras.src.layers import BatchNormalization

from kerasjob_trainer.global_batch import collectives, rows

PATCHED = (BatchNormalization._moments, BatchNormalization.call)


def apply() -> None:
    """Wraps the functions."""
    original, call = BatchNormalization._moments, BatchNormalization.call

    def _moments(self: Any, inputs: Any, mask: Any) -> Any:
        if rows.current() is None or 0 not in self._reduction_axes:
            return original(self, inputs, mask)
        x = tf.convert_to_tensor(inputs)
        half = x.dtype if x.dtype in (tf.float16, tf.bfloat16) else None
        mean, variance = _global_moments(tf.cast(x, tf.float32) if half else x, self._reduction_axes, mask)
        if half:
            # As Keras does: what float16 cannot hold becomes its largest number.
            largest = tf.float16.max
            return tuple(tf.cast(tf.clip_by_value(value, -largest, largest), half) for value in (mean, variance))
        return mean, variance

    def call_replicated(self: Any, *args: Any, **kwargs: Any) -> Any:
        with rows.replicated_writes():
            return call(self, *args, **kwargs)

    BatchNormalization._moments = _moments
    BatchNormalization.call = functools.wraps(call)(call_replicated)


def _global_moments(x: Any, axes: Any, mask: Any) -> tuple[Any, Any]:
    """Mean and variance over the global batch; two collectives, for the second needs what the first one answers."""
    if mask is None:
        valid = None
        own_count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(x), axes)), x.dtype)
    else:
        valid = tf.broadcast_to(tf.expand_dims(tf.cast(mask, tf.bool), -1), tf.shape(x))
        own_count = tf.reduce_sum(tf.cast(valid, x.dtype), axes)
    total, count = collectives.sum_all([tf.reduce_sum(_kept(x, valid), axes), own_count])
    if mask is not None:
        count += epsilon()
    mean = total / count
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    distance = tf.math.squared_difference(x, tf.stop_gradient(tf.reshape(mean, shape)))
    (squares,) = collectives.sum_all([tf.reduce_sum(_kept(distance, valid), axes)])
    return mean, squares / count


def _kept(x: Any, valid: Any) -> Any:
    return x if valid is None else tf.where(valid, x, tf.zeros_like(x))
