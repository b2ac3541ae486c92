"""Functions of `Dataset.map`, taken out of a pipeline to be called on other rows. Used by the view.

They are called as they were traced. Only where a batch has one known size they are traced again for any: a part of it
has another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.data.util import structure
from tensorflow.python.framework import op_def_registry

# Stateful by their definition, but each call gives what the one before gave: files, tables and variables do not change.
# fmt: off
_READING = frozenset(
    {
        "ReadFile", "ReadVariableOp", "LookupTableFindV2", "LookupTableSizeV2", "StatefulPartitionedCall",
        "PartitionedCall", "Placeholder", "StatelessIf", "If", "StatelessWhile", "While", "Assert",
    }
)
# fmt: on


class MapFunction:
    """The function of one map. `output`: the spec of what it gives."""

    def __init__(self, node: Any) -> None:
        self._wrapper = node._map_func
        self.concrete = self._wrapper.function
        self.input = node._input_dataset.element_spec
        self.output = node.element_spec
        self.name: str = getattr(self._wrapper._func, "__qualname__", "")

    def for_any_rows(self) -> MapFunction:
        """The same for a batch of any number of rows; of several components of a gather, the first has the rows."""
        specs = self.input
        relaxed = (_any_rows(specs[0]), *specs[1:]) if self.is_gather else tf.nest.map_structure(_any_rows, specs)
        if relaxed == specs:
            return self
        function = tf.function(self._wrapper._func)
        arguments = relaxed if isinstance(relaxed, tuple) else (relaxed,)
        self.concrete = function.get_concrete_function(*arguments)
        self.input, self.output = relaxed, tf.nest.map_structure(_any_rows, self.output)
        return self

    @property
    def is_gather(self) -> bool:
        """Whether this is how Keras takes rows of arrays: the indices of a batch, and the arrays."""
        return self.name.endswith("grab_batch")

    def __call__(self, element: Any) -> Any:
        """What the map gives for one element: a row, or a batch."""
        flat = structure.to_tensor_list(self.input, element)
        outputs = tf.nest.flatten(self.concrete(*flat))
        return structure.from_compatible_tensor_list(self.output, outputs)

    def on_each(self, batch: Any) -> Any:
        """What it gives for each row of a batch of its inputs, batched."""
        return tf.map_fn(self, batch, fn_output_signature=self.output, parallel_iterations=32)

    def states(self) -> list[str]:
        """Operations that give something else each time, or change something."""
        return sorted({name for name in self._operations() if _is_stateful(name)})

    def _operations(self) -> Iterator[str]:
        graph = self.concrete.graph.as_graph_def()
        yield from (node.op for node in graph.node)
        for function in graph.library.function:
            yield from (node.op for node in function.node_def)


def _any_rows(spec: Any) -> Any:
    if isinstance(spec, tf.TensorSpec) and spec.shape.rank:
        return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
    return spec


def _is_stateful(name: str) -> bool:
    definition = op_def_registry.get(name)
    return name not in _READING and (definition is None or definition.is_stateful)
