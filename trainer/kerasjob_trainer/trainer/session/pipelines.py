"""What of a tf.data pipeline is not the same each time that it is gone through. Used by `seeking`.

An iterator of a shuffle draws the seeds of its order when it is made, from a state that the dataset keeps. Other parts
move only as elements are read: random generators and variables in maps, Python's functions, `repeat` and the like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.python.ops import script_ops

# Parts in which an iterator within is made, or a generator is called, only as reading gets there.
_READ = (
    "Repeat",
    "FlatMap",
    "Interleave",
    "Generator",
    "PyFunc",
    "Random",
    "Choose",
    "Directed",
    "Concatenate",
    "GroupBy",
)
_OF_PYTHON = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
# Operations on a resource that leave it as it is.
_LOOKING = frozenset(
    {
        "ReadVariableOp",
        "VariableShape",
        "VarIsInitializedOp",
        "ResourceGather",
        "ResourceGatherNd",
        "LookupTableFindV2",
        "LookupTableSizeV2",
    }
)


@dataclass
class Movers:
    """`reading`: each element that is read may move something. `python`: functions that may, by what they draw from.

    `shuffles`: the parts that draw an order anew. `cached`: what moves does so until a cache is filled, and never more.
    """

    reading: bool = False
    python: tuple[Any, ...] = ()
    shuffles: tuple[Any, ...] = ()
    cached: bool = False

    @property
    def any(self) -> bool:
        """Whether one time differs from the next."""
        return self.reading or bool(self.python) or bool(self.shuffles)


def movers(dataset: Any) -> Movers:
    """Of a pipeline and all that it stands on."""
    below = [movers(part) for part in dataset._inputs()]
    name = type(dataset).__name__
    found = Movers(
        any(part.reading for part in below) or any(word in name for word in _READ),
        tuple(function for part in below for function in part.python),
        tuple(node for part in below for node in part.shuffles),
        any(part.cached for part in below),
    )
    if "CacheDataset" in name and found.any:
        return Movers(cached=True)
    if "ShuffleDataset" in name and _reshuffles(dataset):
        found.shuffles = (*found.shuffles, dataset)
    for node in _nodes(dataset):
        if node.op in _OF_PYTHON:
            function = script_ops._py_funcs.get(node.attr["token"].s.decode())
            found.python = (*found.python, getattr(function, "_func", function))
            found.reading |= function is None  # it is not known, and may draw
        elif _changes_a_resource(node.op):
            found.reading = True
    return found


def draw_orders(shuffle: Any, number: int) -> None:
    """As if so many iterators of a pipeline had been made that has this shuffle and no other."""
    # What may be chosen is begun with the choosing, and read only where it is chosen: never.
    begun = tf.data.Dataset.choose_from_datasets([shuffle, shuffle.take(0)], tf.data.Dataset.range(0))
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    for _ in tf.data.Dataset.range(number).flat_map(lambda _: begun).with_options(options):
        pass


def _reshuffles(dataset: Any) -> bool:
    return bool(getattr(dataset, "_reshuffle_each_iteration", True))


def _nodes(dataset: Any) -> Iterator[Any]:
    """The operations of the functions that this part of a pipeline calls."""
    for wrapper in dataset._functions():
        graph = wrapper.function.graph.as_graph_def()
        yield from graph.node
        for function in graph.library.function:
            yield from function.node_def


def _changes_a_resource(operation: str) -> bool:
    definition = op_def_registry.get(operation)
    if definition is None or not definition.is_stateful or operation in _LOOKING:
        return False
    return any(argument.type == tf.resource.as_datatype_enum for argument in definition.input_arg)
