"""Which rows of the global batch this replica has, while its step is traced or run. Used by collectives and repairs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import tensorflow as tf


class RowBatch(NamedTuple):
    """A global batch as one worker reads it.

    `total`: rows of the global batch, int64. `parts`: a batch for each local replica, with its rows alone.
    """

    total: Any
    parts: tuple[Any, ...]


def bounds(total: Any, replica: int, num_replicas: int) -> tuple[Any, Any]:
    """First row and the row after the last of a replica: parts differ by one row at most, and may be empty."""
    return total * replica // num_replicas, total * (replica + 1) // num_replicas


class Rows:
    """The rows of one replica in one step.

    Values are kept in variables as well as in tensors: a function that is traced inside the step (a user's
    `tf.function`, a branch, a loop) may outlive the graph that the tensors belong to.
    """

    def __init__(self, index: int, counts: Any, store: RowStore) -> None:
        self.index = index
        self.num_replicas = store.num_replicas
        self._graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
        self.has_inner_graphs = False  # whether a function, branch or loop in the step has asked for rows
        self._counts = tf.identity(counts)
        self._store = store
        store.counts.assign(self._counts)

    @property
    def counts(self) -> Any:
        """Rows of each replica: int64, shape (num_replicas,)."""
        return self._counts if self.is_in_own_graph() else tf.convert_to_tensor(self._store.counts)

    def is_in_own_graph(self) -> bool:
        """Whether tensors that are made now live as long as the step."""
        if self._graph is None or tf.compat.v1.get_default_graph() is self._graph:
            return True
        self.has_inner_graphs = True
        return False

    @property
    def count(self) -> Any:
        """Rows of this replica, int64."""
        return self.counts[self.index]

    @property
    def offset(self) -> Any:
        """Rows of the replicas before this one, int64."""
        return tf.reduce_sum(self.counts[: self.index])

    @property
    def total(self) -> Any:
        """Rows of the global batch, int64."""
        return tf.reduce_sum(self.counts)

    def may_count(self, size: Any) -> bool:
        """Whether a first dimension may be that of rows: a size that is known when the program is traced is not."""
        if tf.executing_eagerly():
            return int(size) == int(self.count)
        return tf.get_static_value(size) is None

    def share(self, dtype: Any) -> Any:
        """This replica's part of the global batch, 0 to 1."""
        counts = tf.cast(self.counts, dtype)
        return tf.math.divide_no_nan(counts[self.index], tf.reduce_sum(counts))

    def inverse_share(self, dtype: Any) -> Any:
        """1 / share; 0 for a replica without rows."""
        counts = tf.cast(self.counts, dtype)
        return tf.math.divide_no_nan(tf.reduce_sum(counts), counts[self.index])


class RowStore:
    """The variables of a strategy that `Rows` keeps its values in. Made once, outside of any step."""

    def __init__(self, strategy: tf.distribute.Strategy, num_replicas: int | None = None) -> None:
        self.num_replicas = num_replicas or strategy.num_replicas_in_sync
        self.first_seed = 0  # number of the first random operation of the step that is traced
        with tf.init_scope(), strategy.scope():
            self.counts = tf.Variable(
                tf.zeros([self.num_replicas], tf.int64), trainable=False, aggregation=tf.VariableAggregation.NONE
            )


_local = threading.local()


def current() -> Rows | None:
    """The rows of the step that this thread traces or runs; None outside of one."""
    return getattr(_local, "rows", None)


@contextmanager
def in_step(rows: Rows) -> Iterator[None]:
    """Inside, `current` answers these rows. A step belongs to one thread."""
    before = current()
    _local.rows = rows
    try:
        yield
    finally:
        _local.rows = before


def replicated() -> bool:
    """Whether this thread is in code whose writes to variables are the same on all replicas."""
    return bool(getattr(_local, "replicated", False))


@contextmanager
def replicated_writes() -> Iterator[None]:
    """Inside, values that are written to variables are the same on all replicas: there is nothing to reduce."""
    before = replicated()
    _local.replicated = True
    try:
        yield
    finally:
        _local.replicated = before
