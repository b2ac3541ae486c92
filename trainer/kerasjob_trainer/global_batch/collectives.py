"""Collectives inside a step, packed: few large ones instead of many small. Called in a replica context.

All replicas must come here in the same order with the same shapes (but for gathers), which is so because they trace
the same program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kerasjob_trainer.global_batch import rows
from kerasjob_trainer.global_batch.rows import Rows

# Several collectives of this size at once are faster than a large one, and the first begin while others are computed.
BUCKET_BYTES = 8 * 1024**2


def sum_all(tensors: Sequence[Any]) -> list[Any]:
    """Sums over all replicas, in few collectives. Differentiable: the gradient of a sum is the sum."""
    return _sum_buckets(tensors, lambda packed: packed)


def _sum_buckets(tensors: Sequence[Any], own: Callable[[Any], Any]) -> list[Any]:
    results: list[Any] = [None] * len(tensors)
    for where in _buckets(tensors):
        bucket = [tensors[i] for i in where]
        for i, value in zip(where, _unpack(_all_reduce(own(_pack(bucket))), bucket), strict=True):
            results[i] = value
    return results


def weighted_mean(tensors: Sequence[Any], current: Rows) -> list[Any]:
    """The global value of scalars (or other tensors) of which each replica has an estimate. Types are floats."""
    return sum_all([tf.math.multiply_no_nan(tensor, current.share(tensor.dtype)) for tensor in tensors])


def sum_gradients(gradients: Sequence[Any], current: Rows) -> list[Any]:
    """Sums gradients that are weighted already; a replica without rows adds nothing. Slices are put together by rank.

    The slices are then those that one process would have, in the same order.
    """
    results = list(gradients)
    dense = [i for i, gradient in enumerate(gradients) if isinstance(gradient, tf.Tensor)]

    def nothing_for_no_rows(packed: Any) -> Any:  # the loss of an empty batch may be 0/0
        return tf.cond(current.count > 0, lambda: packed, lambda: tf.zeros_like(packed))

    for i, value in zip(dense, _sum_buckets([gradients[i] for i in dense], nothing_for_no_rows), strict=True):
        results[i] = value
    for i, gradient in enumerate(gradients):
        if isinstance(gradient, tf.IndexedSlices):
            results[i] = _all_reduce(gradient)
    return results


def gather_rows(tensor: Any, current: Rows) -> Any:
    """The rows of all replicas, in their order. Adds to zeros: exact, and parts of any size do.

    A tensor may have several rows for each of the batch, as tokens of texts that are made one row each.
    """
    kind = tensor.dtype
    if kind in (tf.bool, tf.int8, tf.uint8, tf.int16, tf.uint16):
        return tf.cast(gather_rows(tf.cast(tensor, tf.int32), current), kind)
    own = tf.shape(tensor, tf.int64)[0]
    (number,) = sum_all([own])
    before = current.offset * (number // tf.maximum(current.total, 1))
    after = number - before - own
    padding = tf.pad(tf.stack([before, after])[tf.newaxis], [[0, tf.rank(tensor) - 1], [0, 0]])
    (whole,) = sum_all([tf.pad(tensor, padding)])
    whole.set_shape([None, *tensor.shape[1:]])
    return whole


def gather_ragged(ragged: Any, current: Rows) -> Any:
    """The rows of all replicas where a row has any number of items. Raises ValueError for deeper ones."""
    if ragged.ragged_rank > 1:
        raise ValueError("predict on several workers: an output with more than one ragged dimension cannot be gathered")
    lengths = gather_rows(ragged.row_lengths(), current)
    width = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    padded = ragged.to_tensor()
    missing = tf.stack([[0, 0], [0, width - tf.shape(padded, tf.int64)[1]]])
    padded = tf.pad(padded, tf.pad(missing, [[0, tf.rank(padded) - 2], [0, 0]]))
    padded.set_shape([None, None, *ragged.shape[2:]])
    return tf.RaggedTensor.from_tensor(gather_rows(padded, current), lengths)


def _buckets(tensors: Sequence[Any]) -> list[list[int]]:
    """Which tensors go together: of one type, up to a size. From the last one on, for gradients come in that order."""
    found: list[list[int]] = []
    filling: dict[Any, tuple[list[int], int]] = {}
    for i in reversed(range(len(tensors))):
        size = (tensors[i].shape.num_elements() or 0) * tensors[i].dtype.size
        bucket, filled = filling.get(tensors[i].dtype, ([], BUCKET_BYTES + 1))
        if filled + size > BUCKET_BYTES:
            bucket, filled = [], 0
            found.append(bucket)
        bucket.append(i)
        filling[tensors[i].dtype] = bucket, filled + size
    return found


def _all_reduce(flat: Any) -> Any:
    current = rows.current()
    if current is not None and current.num_replicas == 1:
        return flat
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
