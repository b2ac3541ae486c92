"""A step of `fit`, `evaluate` or `predict` as each replica runs it: with its rows known, and results that are global.

Called by the repair of Keras's train function.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from keras.src import tree
from tensorflow.python.framework import random_seed

from kerasjob_trainer.global_batch import collectives, input, rows
from kerasjob_trainer.global_batch.rows import RowBatch, Rows, RowStore

_stores: dict[int, RowStore] = {}
_local = threading.local()


class TraceAgain(BaseException):
    """Tracing a step met what must be made outside of it: `make` does, and the step is traced again."""

    def __init__(self, make: Callable[[], None]) -> None:
        super().__init__()
        self.make = make


def wrap(
    step_function: Callable[[Any], Any],
    strategy: tf.distribute.Strategy,
    unite: Callable[[Any, Rows], Any] | None = None,
) -> Callable[[Any], Any]:
    """The step of one replica: takes a `RowBatch`, or a batch that is this replica's own already.

    `unite` makes global what the step answers; by default it is taken for logs.
    """
    if id(strategy) not in _stores:
        _stores[id(strategy)] = RowStore(strategy)
    store = _stores[id(strategy)]
    first = input.first_replica(strategy)

    def step(data: Any) -> Any:
        local = _local_replica(strategy)
        if isinstance(data, RowBatch):
            starts = tf.stack([rows.bounds(data.total, i, store.num_replicas)[0] for i in range(store.num_replicas)])
            counts = tf.concat([starts[1:], [data.total]], axis=0) - starts
            batch = data.parts[local]
        else:
            batch = data
            own = tf.one_hot(first + local, store.num_replicas, on_value=input.num_rows(batch), dtype=tf.int64)
            (counts,) = collectives.sum_all([own])
        _same_seeds(local, store)
        current = Rows(first + local, counts, store)
        with rows.in_step(current):
            _local.before_results, _local.known = [], {}
            outputs = step_function(_any_number_of_rows(batch))
            finish()
            return (unite or _logs)(outputs, current)

    return plain(step)


def _same_seeds(local: int, store: RowStore) -> None:
    """Random operations of TensorFlow are seeded by their number in the graph: the same for all replicas in it."""
    graph, numbers = tf.compat.v1.get_default_graph(), random_seed._graph_to_seed_dict
    if local == 0:
        store.first_seed = numbers.get(graph, 0)
    elif not tf.executing_eagerly():
        numbers[graph] = store.first_seed


def _any_number_of_rows(batch: Any) -> Any:
    """Hides a size that is known when the step is traced: it is how a batch is told from anything else."""
    if tf.executing_eagerly():
        return batch

    def hide(leaf: Any) -> Any:
        if not isinstance(leaf, tf.Tensor) or not leaf.shape.rank or leaf.shape[0] is None:
            return leaf
        return tf.raw_ops.PlaceholderWithDefault(input=leaf, shape=[None, *leaf.shape[1:]])

    return tf.nest.map_structure(hide, batch)


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps AutoGraph away from code that is written for a graph as it stands."""
    converted: Callable[..., Any] = tf.autograph.experimental.do_not_convert(function)
    return converted


@contextmanager
def recording() -> Iterator[list[tuple[str, Any]]]:
    """Inside, `record` keeps the gradients that a step takes."""
    found: list[tuple[str, Any]] = []
    _local.recorded = found
    try:
        yield found
    finally:
        _local.recorded = None


def record(variables: list[Any], gradients: list[Any]) -> None:
    """Tells `recording` of gradients; those of a function inside the step cannot leave it."""
    found, current = getattr(_local, "recorded", None), rows.current()
    if found is not None and current is not None and current.is_in_own_graph():
        found += [(getattr(v, "path", v.name), gradient) for v, gradient in zip(variables, gradients, strict=True)]


def finish() -> None:
    """Runs what was put off to the end of the step, or until somebody needs a result."""
    pending, _local.before_results = _local.before_results, []
    for function in pending:
        function()


def at_finish(function: Callable[[], None]) -> None:
    """Puts a function off to `finish`."""
    _local.before_results.append(function)


def is_pending() -> bool:
    """Whether something is put off."""
    return bool(_local.before_results)


def mark_global(value: Any) -> Any:
    """Says of the tensors in a result that they are the same on all replicas."""
    for leaf in tree.flatten(value):
        _local.known[id(leaf)] = leaf
    return value


def _logs(outputs: Any, current: Rows) -> Any:
    """Logs of a step: scalars that are not known to be global are put together."""
    leaves = tree.flatten(outputs)
    local = [i for i, leaf in enumerate(leaves) if _is_estimate(leaf)]
    if not local:
        return outputs
    for i, value in zip(local, collectives.weighted_mean([leaves[i] for i in local], current), strict=True):
        leaves[i] = value
    return tree.pack_sequence_as(outputs, leaves)


def _is_estimate(leaf: Any) -> bool:
    is_scalar = isinstance(leaf, tf.Tensor) and leaf.dtype.is_floating and leaf.shape.rank == 0
    return is_scalar and id(leaf) not in _local.known


def _local_replica(strategy: tf.distribute.Strategy) -> int:
    from tensorflow.python.distribute import values_util

    number = values_util.get_current_replica_id_as_int()
    return int(number) if number is not None else 0
