"""A step of training happens as a whole or not at all, also where a peer dies in the middle of it.

A step has several collectives (of gradients, of metrics, of logs), and what it writes waits for some of them only:
where one fails, some variables are a step ahead of others. So the graph of a step is changed once it is traced: every
write waits for all collectives of the step. What cannot wait, since a later collective depends on it (a GAN's first
optimizer), is kept from before the step, and `undo` puts it back.

Used by the repair of Keras's train function; asked by the session after a peer was lost.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.ops.handle_data_util import get_resource_handle_data
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from kerasjob_trainer.global_batch.step import TraceAgain

_WRITES = ("Assign", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "RngSkip", "RngReadAndSkip")
_COLLECTIVES = ("CollectiveReduce", "CollectiveGather", "CollectiveBcast", "CollectiveAllToAll", "NcclAllReduce")


class WholeSteps:
    """Of one train function, whatever it is traced for: in each graph of a step `begin`, then the step, then `end`."""

    def __init__(self, known: list[Any]) -> None:
        """known: variables that will be written early. What is not among them is found when a step is traced, which is
        traced once more then."""
        # Steps that are done, and those whose early writes are kept: both only ever grow.
        self._done, self._kept = counter(0), counter(0)
        # By the id of a variable's handle: the handle and what was in it before the step.
        self._copies: dict[int, tuple[Any, ResourceVariable]] = {}
        self.proven = False
        self._keep([handle for variable in known for handle in _handles(variable)])

    @property
    def num_done(self) -> int:
        """Whole steps since the function was made. Read without a collective, also after one has failed."""
        return int(self._done.numpy())

    def begin(self) -> list[Any]:
        """In the graph of a step, before anything else: keeps what will be written early. Answers its operations."""
        if tf.executing_eagerly():
            return []
        copied = [copy.assign(_read(handle, copy.dtype)) for handle, copy in self._copies.values()]
        if not copied:
            return []
        with tf.control_dependencies(copied):
            return [*(value.op for value in copied), self._kept.assign(self._done + 1).op]

    def end(self, begun: list[Any]) -> None:
        """In the same graph, after all else. Raises TraceAgain where something must be kept that is not yet."""
        if tf.executing_eagerly():  # what runs at once cannot be made to wait: nothing is proven
            return
        graph = tf.compat.v1.get_default_graph()
        ours = set(begun)
        operations = [op for op in graph.get_operations() if op not in ours]
        collectives = [op for op in operations if _has(op, _COLLECTIVES)]
        waiting, early = _sort(graph, operations, collectives)
        handles = _outside(graph, early)
        missing = [handle for handle in handles if id(handle) not in self._copies]
        if missing:
            raise TraceAgain(lambda: self._keep(missing))
        for op in waiting:
            op._add_control_inputs(collectives)
        for op in early:
            op._add_control_inputs(begun)
        with tf.control_dependencies([*collectives, *waiting]):
            self._done.assign_add(1)
        self.proven = True

    def undo(self) -> bool:
        """After a failure: puts back what a step that is not done has written. False where nothing is proven."""
        if self.proven and int(self._kept.numpy()) == self.num_done + 1:
            for handle, copy in self._copies.values():
                tf.raw_ops.AssignVariableOp(resource=handle, value=copy.read_value())
        return self.proven

    def _keep(self, handles: list[Any]) -> None:
        for handle in handles:
            data = handle._handle_data.shape_and_type[0]
            with tf.init_scope(), tf.device(handle.device):
                value = _read(handle, tf.as_dtype(data.dtype))
                self._copies[id(handle)] = handle, ResourceVariable(value, trainable=False)


def counter(value: int) -> ResourceVariable:
    """An int64 of this process alone: no strategy distributes it."""
    with tf.init_scope(), tf.device("CPU:0"):
        return ResourceVariable(value, dtype=tf.int64, trainable=False)


def _handles(variable: Any) -> list[Any]:
    """Of a variable's copies on this worker's devices."""
    value = getattr(variable, "_value", variable)
    return [one.handle for one in tf.distribute.get_strategy().experimental_local_results(value)]


def _read(handle: Any, dtype: Any) -> Any:
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)


def _sort(graph: Any, operations: list[Any], collectives: list[Any]) -> tuple[list[Any], list[Any]]:
    """Writes that can wait for all collectives, and those that cannot, since

    * a collective depends on them: it depends on what it is computed from, and on a write to a variable that is read
      for it afterwards; such a write depends on others in turn; or
    * they do not depend on the batch (the count of steps, seeds): where data ends, they are written once more, for the
      function is called once more. One process does so, and what follows would not be the same without it.
    """
    writes = [(number, op, {tensor.name for tensor in _written(op)}) for number, op in enumerate(operations)]
    writes = [(number, op, names) for number, op, names in writes if names]
    users: dict[str, list[tuple[int, Any]]] = {name: [] for _, _, names in writes for name in names}
    for number, op in enumerate(operations):
        for tensor in op.inputs:
            if tensor.name in users:
                users[tensor.name].append((number, op))
    needed = set(collectives)
    _add_ancestors(needed, collectives)
    of_batch = _of_batch(graph, operations, {op: names for _, op, names in writes})
    early: list[Any] = []
    while True:
        found = [
            op
            for number, op, names in writes
            if op not in early
            and (
                op in needed
                or op not in of_batch
                or any(o in needed for name in names for n, o in users[name] if n > number)
            )
        ]
        if not found:
            break
        early += found
        needed.update(found)
        _add_ancestors(needed, found)
    return [op for _, op, _ in writes if op not in needed], early


def _of_batch(graph: Any, operations: list[Any], written: dict[Any, set[str]]) -> set[Any]:
    """Operations that the batch must be there for: that compute from it, or come after such a one with a variable."""
    captured = {inside.op for _, inside in graph.captures}
    found: set[Any] = set()
    touched: set[str] = set()  # variables that such an operation has used
    for op in operations:
        handles = {tensor.name for tensor in op.inputs if tensor.dtype == tf.resource}
        if (
            (op.type == "Placeholder" and op not in captured)
            or any(tensor.op in found for tensor in op.inputs)
            or any(other in found for other in op.control_inputs)
            or any(name in touched for name in handles)
        ):
            found.add(op)
            touched |= written.get(op, set())
    return found


def _add_ancestors(found: set[Any], operations: list[Any]) -> None:
    ahead = list(operations)
    while ahead:
        op = ahead.pop()
        for other in [*(tensor.op for tensor in op.inputs), *op.control_inputs]:
            if other not in found:
                found.add(other)
                ahead.append(other)


def _written(op: Any) -> list[Any]:
    """Handles of the variables that an operation may write."""
    handles = [tensor for tensor in op.inputs if tensor.dtype == tf.resource and _is_variable(tensor)]
    if not handles or not _has(op, _WRITES):
        return []
    read_only = op.node_def.attr["_read_only_resource_inputs"].list.i  # of a function, branch or loop
    names = {op.inputs[index].name for index in read_only}
    return [handle for handle in handles if handle.name not in names]


def _is_variable(handle: Any) -> bool:
    """Iterators and generators of seeds are resources too."""
    return bool(get_resource_handle_data(handle).is_set)


def _has(op: Any, kinds: tuple[str, ...]) -> bool:
    """Whether an operation, or one in a function, branch or loop that it calls, is of a kind."""
    return any(kind.startswith(kinds) for kind in _kinds(op.node_def))


def _kinds(node: Any) -> frozenset[str]:
    called = [f.name for value in node.attr.values() for f in [value.func, *value.list.func] if f.name]
    return frozenset([node.op]).union(*map(_kinds_inside, called))


@functools.cache
def _kinds_inside(function: str) -> frozenset[str]:
    """Kinds of all operations of a function, which never changes once it has its name."""
    nodes = context.context().get_function_def(function).node_def
    return frozenset[str]().union(*map(_kinds, nodes))


def _outside(graph: Any, operations: list[Any]) -> list[Any]:
    """The variables that operations of a function's graph write, as the program knows them."""
    outside = {inside.name: handle for handle, inside in graph.captures}
    found = {}
    for op in operations:
        for tensor in _written(op):
            handle = outside.get(tensor.name)
            if handle is not None:  # else it is the step's own and ends with it
                found[id(handle)] = handle
    return list(found.values())
