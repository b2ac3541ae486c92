"""Pipelines that read and decode this worker's rows alone, with the elements that reading everything would give.

What stands before the maps of a pipeline (files in an order, records, a shuffle) stays as it is, the same object with
the same state: its elements are small. They are batched, this worker's rows of each batch are taken, and the maps run
on those. A map over whole batches may follow where it is proven to treat each row by itself. Called by `input`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasjob_trainer.global_batch.rows import RowBatch, bounds
from kerasjob_trainer.global_batch.views import row_wise
from kerasjob_trainer.global_batch.views.functions import MapFunction

_KEEPING = ("_PrefetchDataset", "_OptionsDataset")
# What chooses among batches without looking into them may as well come last.
_CHOOSING = {"_TakeDataset": "take", "_SkipDataset": "skip", "_RepeatDataset": "repeat"}
_MAPS = ("_MapDataset", "_ParallelMapDataset")
_BATCHES = ("_BatchDataset", "_ParallelBatchDataset")


class NoView(Exception):
    """Why all rows must be read, in words for the user."""


def view(dataset: tf.data.Dataset, first: int, num_local: int, num_replicas: int) -> tf.data.Dataset:
    """A dataset of `RowBatch` with the rows of replicas `first` to `first + num_local`. Raises NoView."""
    choices: list[tuple[str, int]] = []
    outer, node = _maps_down_to(dataset, choices)
    if _is_array_gather(outer, node):
        return _chosen(_gather_own(outer, node, first, num_local, num_replicas), choices)
    if type(node).__name__ not in _BATCHES:
        raise NoView(f"{_name(node)} makes the batches")
    for function in outer:
        reason = row_wise.why_not(function.for_any_rows())
        if reason is not None:
            raise NoView(f"a map over batches may mix rows ({reason}): move it before batch()")
    inner, base = _maps_down_to(node._input_dataset)
    if not outer and not inner:
        raise NoView("nothing is computed between the source and the batch")
    for spec in tf.nest.flatten([base.element_spec, *(function.output for function in inner)]):
        if not isinstance(spec, tf.TensorSpec) or not spec.shape.is_fully_defined():
            raise NoView(f"an element before batch() has no fixed shape ({spec})")
    batches = base.batch(int(node._batch_size), drop_remainder=bool(node._drop_remainder))
    is_tuple = isinstance(base.element_spec, tuple)

    def own(*raw: Any) -> RowBatch:
        batch = raw if is_tuple else raw[0]
        total = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
        parts = []
        for i in range(num_local):
            start, stop = bounds(total, first + i, num_replicas)
            part = tf.nest.map_structure(lambda leaf, a=start, b=stop: leaf[a:b], batch)
            for function in reversed(inner):
                part = function.on_each(part)
            for function in reversed(outer):
                part = function(part)
            parts.append(part)
        return RowBatch(total, tuple(parts))

    return _chosen(batches.map(own, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True), choices)


def _chosen(dataset: tf.data.Dataset, choices: list[tuple[str, int]]) -> tf.data.Dataset:
    for name, count in reversed(choices):
        dataset = getattr(dataset, name)(count)
    return dataset


def _maps_down_to(dataset: Any, choices: list[tuple[str, int]] | None = None) -> tuple[list[MapFunction], Any]:
    """The maps at the end of a pipeline, the last one first, and what they stand on.

    `choices`: where given, is filled with what chooses among elements, which does not end the maps then. Where not, a
    map that gives something else each time does.
    """
    maps: list[MapFunction] = []
    node = dataset
    while True:
        kind = type(node).__name__
        if kind in _MAPS:
            function = MapFunction(node)
            if choices is None and function.states():
                return maps, node
            maps.append(function)
        elif kind in _CHOOSING and choices is not None:
            choices.append((_CHOOSING[kind], int(node._count)))
        elif kind not in _KEEPING:
            return maps, node
        node = node._input_dataset


def _is_array_gather(outer: list[MapFunction], node: Any) -> bool:
    """Whether this is how Keras makes a pipeline of arrays: indices of a batch, and a map that gathers them."""
    return len(outer) == 1 and outer[0].is_gather and type(node).__name__ == "_ZipDataset"


def _gather_own(outer: list[MapFunction], node: Any, first: int, num_local: int, num_replicas: int) -> tf.data.Dataset:
    gather = outer[0].for_any_rows()

    def own(indices: Any, arrays: Any) -> RowBatch:
        total = tf.shape(indices, tf.int64)[0]
        parts = []
        for i in range(num_local):
            start, stop = bounds(total, first + i, num_replicas)
            parts.append(gather((indices[start:stop], arrays)))
        return RowBatch(total, tuple(parts))

    own_rows = node.map(own, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # As Keras has it: the arrays are constants of the pipeline, and optimizing it would copy them.
    options.experimental_optimization.apply_default_optimizations = False
    return own_rows.with_options(options)


def _name(node: Any) -> str:
    return type(node).__name__.strip("_").removesuffix("Dataset").lower() or "something"
