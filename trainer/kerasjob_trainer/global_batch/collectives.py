"""Collectives inside a step, packed: few large ones instead of many small. Called in a replica context.

All replicas must come here in the same order with the same shapes (but for gathers), which is so because they trace
the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kerasjob_trainer.global_batch.rows import Rows


def sum_all(tensors: Sequence[Any]) -> list[Any]:
    """Sums over all replicas, in one collective per type. Differentiable: the gradient of a sum is the sum."""
    results: list[Any] = [None] * len(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        where = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        packed = _unpack(_all_reduce(_pack([tensors[i] for i in where])), [tensors[i] for i in where])
        for i, value in zip(where, packed, strict=True):
            results[i] = value
    return results


def weighted_mean(tensors: Sequence[Any], rows: Rows) -> list[Any]:
    """The global value of scalars (or other tensors) of which each replica has an estimate. Types are floats."""
    return sum_all([tf.math.multiply_no_nan(tensor, rows.share(tensor.dtype)) for tensor in tensors])


def sum_gradients(gradients: Sequence[Any], rows: Rows) -> list[Any]:
    """Sums gradients that are weighted already; a replica without rows adds nothing. Slices are put together by rank.

    The slices are then those that one process would have, in the same order.
    """
    results = list(gradients)
    dense = [i for i, g in enumerate(gradients) if isinstance(g, tf.Tensor)]
    for dtype in dict.fromkeys(gradients[i].dtype for i in dense):
        where = [i for i in dense if gradients[i].dtype == dtype]
        values = [gradients[i] for i in where]
        packed = _pack(values)
        # Half of the loss of an empty batch may be 0/0.
        packed = tf.cond(rows.count > 0, lambda p=packed: p, lambda p=packed: tf.zeros_like(p))
        for i, value in zip(where, _unpack(_all_reduce(packed), values), strict=True):
            results[i] = value
    for i, gradient in enumerate(gradients):
        if isinstance(gradient, tf.IndexedSlices):
            results[i] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradient)
    return results


def gather_rows(tensor: Any, rows: Rows) -> Any:
    """The rows of all replicas, in their order. Adds to zeros: exact, and parts of any size do."""
    kind = tensor.dtype
    if kind in (tf.bool, tf.int8, tf.uint8, tf.int16, tf.uint16):
        return tf.cast(gather_rows(tf.cast(tensor, tf.int32), rows), kind)
    before, after = rows.offset, rows.total - rows.offset - tf.shape(tensor, tf.int64)[0]
    padding = tf.pad(tf.stack([before, after])[tf.newaxis], [[0, tf.rank(tensor) - 1], [0, 0]])
    (whole,) = sum_all([tf.pad(tensor, padding)])
    whole.set_shape([None, *tensor.shape[1:]])
    return whole


def _all_reduce(flat: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)


def _pack(tensors: list[Any]) -> Any:
    if len(tensors) == 1:
        return tensors[0]
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def _unpack(packed: Any, like: list[Any]) -> list[Any]:
    if len(like) == 1:
        return [packed]
    sizes = [tensor.shape.num_elements() for tensor in like]
    if None in sizes:
        sizes = tf.stack([tf.size(tensor) for tensor in like])
    parts = tf.split(packed, sizes)
    return [
        tf.reshape(part, tensor.shape if tensor.shape.is_fully_defined() else tf.shape(tensor))
        for part, tensor in zip(parts, like, strict=True)
    ]
