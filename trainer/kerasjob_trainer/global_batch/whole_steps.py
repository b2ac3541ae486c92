"""A step of training happens as a whole or not at all, also where a peer dies in the middle of it.

A step has several collectives (of gradients, of metrics, of logs), and what it writes waits for some of them only:
where one fails, some variables are a step ahead of others. So the graph of a step is changed once it is traced: every
write waits for all collectives of the step. What cannot wait, since a later collective depends on it (a GAN's first
optimizer), is kept from before the step, and `undo` puts it back.

Where data end, one process finds that out by calling its function once more, which fails for want of a batch, but has
counted a step and drawn seeds by then: what does not depend on the batch. Here that waits too, so `data_ended` does it.

Used by the repair of Keras's train function; asked by the session after a peer was lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.eager.lift_to_graph import lift_to_graph
from tensorflow.python.ops.handle_data_util import get_resource_handle_data
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from kerasjob_trainer.global_batch.step import TraceAgain, plain

_WRITES = ("Assign", "ResourceApply", "ResourceSparseApply", "ResourceScatter", "RngSkip", "RngReadAndSkip")
_COLLECTIVES = ("CollectiveReduce", "CollectiveGather", "CollectiveBcast", "CollectiveAllToAll", "NcclAllReduce")


class WholeSteps:
    """Of one train function, whatever it is traced for: in each graph of a step `begin`, then the step, then `end`."""

    def __init__(self) -> None:
        # Steps that are done, and those whose early writes are kept: both only ever grow.
        self._done, self._kept = counter(0), counter(0)
        # By the id of a variable's handle: the handle and what was in it before the step.
        self._copies: dict[int, tuple[Any, ResourceVariable]] = {}
        self._without_batch: Callable[[], Any] = lambda: None
        self.proven = False

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
        waiting, early = _sort(operations, collectives)
        handles = _outside(graph, early)
        missing = [handle for handle in handles if id(handle) not in self._copies]
        if missing:
            raise TraceAgain(lambda: self._keep(missing))
        self._without_batch = _alone(graph, _independent(graph, operations))
        for op in waiting:
            op._add_control_inputs(collectives)
        for op in early:
            op._add_control_inputs(begun)
        with tf.control_dependencies([*collectives, *waiting]):
            self._done.assign_add(1)
        self.proven = True

    def data_ended(self) -> None:
        """The function was called for a batch that was not there: writes what one process has written by then."""
        self._without_batch()

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


def _read(handle: Any, dtype: Any) -> Any:
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)


def _sort(operations: list[Any], collectives: list[Any]) -> tuple[list[Any], list[Any]]:
    """Writes that can wait for all collectives, and those that cannot, since a collective depends on them.

    It depends on what it is computed from, and on a write to a variable that is read for it afterwards; such a write
    depends on others in turn.
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
    early: list[Any] = []
    while True:
        found = [
            op
            for number, op, names in writes
            if op not in early
            and (op in needed or any(o in needed for name in names for n, o in users[name] if n > number))
        ]
        if not found:
            break
        early += found
        needed.update(found)
        _add_ancestors(needed, found)
    return [op for _, op, _ in writes if op not in needed], early


def _independent(graph: Any, operations: list[Any]) -> list[Any]:
    """Writes for which no batch need be there: they compute nothing from it, nor come after what does with a variable.

    In the order in which they were made; each waits for the ones before that use the same variable.
    """
    captured = {inside.op for _, inside in graph.captures}
    of_batch: set[Any] = set()
    touched: set[str] = set()  # variables that what depends on the batch has written
    last: dict[str, list[Any]] = {}  # what has used a variable so far
    found = []
    for op in operations:
        handles = {tensor.name for tensor in op.inputs if tensor.dtype == tf.resource}
        if (
            (op.type == "Placeholder" and op not in captured)
            or any(tensor.op in of_batch for tensor in op.inputs)
            or any(other in of_batch for other in op.control_inputs)
            or handles & touched
        ):
            of_batch.add(op)
            touched |= {tensor.name for tensor in _written(op)}
            continue
        written = {tensor.name for tensor in _written(op)}
        if handles:
            op._add_control_inputs([other for name in handles for other in last.get(name, [])])
            for name in handles:
                last[name] = [op] if name in written else [*last.get(name, []), op]
        if written:
            found.append(op)
    return found


def _alone(graph: Any, operations: list[Any]) -> Callable[[], Any]:
    """A function that does these operations of a graph, and what they are computed from, and nothing else."""

    def alone() -> None:
        if operations:
            target = tf.compat.v1.get_default_graph()
            lift_to_graph(operations, target, sources=graph.internal_captures, handle_captures=True, base_graph=graph)

    with tf.init_scope():
        function: Callable[[], Any] = tf.function(plain(alone)).get_concrete_function()
    return function


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
