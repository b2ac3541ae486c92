"""Datasets of global batches as this worker reads them: each element with the rows of its own replicas alone.

All workers read the same global batches in the same order, as one process would, so they have the same number of
steps and no collective is needed to find the end.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasjob_trainer.global_batch import views
from kerasjob_trainer.global_batch.rows import RowBatch, bounds
from kerasjob_trainer.log import log


def first_replica(strategy: tf.distribute.Strategy) -> int:
    """Number of this worker's first replica among all."""
    resolver = strategy.cluster_resolver
    worker = resolver.task_id if resolver is not None and resolver.cluster_spec() else 0
    return (worker or 0) * num_local(strategy)


def num_local(strategy: tf.distribute.Strategy) -> int:
    """Replicas of this worker."""
    return len(strategy.extended.worker_devices)


def split(batch: Any, strategy: tf.distribute.Strategy) -> RowBatch:
    """The rows of this worker's replicas of a global batch."""
    total = num_rows(batch)
    first = first_replica(strategy)
    return RowBatch(
        total,
        tuple(
            slice_rows(batch, *bounds(total, first + i, strategy.num_replicas_in_sync))
            for i in range(num_local(strategy))
        ),
    )


def row_batches(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """Reads this worker's rows of each global batch; all rows where the pipeline does not allow less."""
    first, local, replicas = first_replica(strategy), num_local(strategy), strategy.num_replicas_in_sync
    try:
        own = views.view(dataset, first, local, replicas)
    except views.NoView as why:
        log.info("input: every worker reads all rows of a batch and keeps its own, since %s", why)
        own = _whole_batches(dataset, strategy)
    else:
        log.info("input: each worker reads and decodes its own rows alone")
    return own.prefetch(tf.data.AUTOTUNE)


def _whole_batches(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    is_tuple = isinstance(dataset.element_spec, tuple)

    def own(*element: Any) -> RowBatch:
        return split(element if is_tuple else element[0], strategy)

    return dataset.map(own, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def num_rows(batch: Any) -> Any:
    """Leading dimension of a batch, int64."""
    for leaf in tf.nest.flatten(batch):
        if isinstance(leaf, tf.SparseTensor):
            return leaf.dense_shape[0]
        if isinstance(leaf, tf.RaggedTensor):
            return tf.cast(leaf.nrows(), tf.int64)
        if _has_rows(leaf):
            return tf.shape(leaf, tf.int64)[0]
    raise ValueError("a batch must have at least one tensor with rows; got " + str(batch))


def slice_rows(batch: Any, start: Any, stop: Any) -> Any:
    """Rows `start` to `stop` of every tensor of a batch."""

    def part(leaf: Any) -> Any:
        if isinstance(leaf, tf.SparseTensor):
            size = tf.concat([[stop - start], leaf.dense_shape[1:]], axis=0)
            begin = tf.pad(tf.reshape(start, [1]), [[0, tf.size(leaf.dense_shape) - 1]])
            sliced = tf.sparse.slice(leaf, begin, size)
            # A layer is built from the static shape, which a slice forgets.
            dynamic = tf.unstack(sliced.dense_shape, len(leaf.shape))
            shape = [dynamic[0]] + [
                one if static is None else tf.constant(static, tf.int64)
                for one, static in zip(dynamic[1:], leaf.shape[1:], strict=True)
            ]
            return tf.SparseTensor(sliced.indices, sliced.values, tf.stack(shape))
        if isinstance(leaf, tf.RaggedTensor) or _has_rows(leaf):
            return leaf[start:stop]
        return leaf

    return tf.nest.map_structure(part, batch)


def _has_rows(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and not isinstance(leaf, tf.experimental.Optional) and len(leaf.shape) > 0
