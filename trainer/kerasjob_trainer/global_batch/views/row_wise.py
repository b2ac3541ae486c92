"""Whether a function of batches treats each row by itself, so that a part of the rows gives a part of the result.

A proof by what is known of each operation: axis 0 of its inputs is axis 0 of its outputs, and nothing else meets it.
What is not known here is taken to mix rows. Used by the view.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kerasjob_trainer.global_batch.views.functions import MapFunction

# fmt: off
_ONE = frozenset(
    {
        "Abs", "Cast", "Ceil", "CheckNumerics", "Cos", "Elu", "Erf", "Exp", "Floor", "Identity", "IsFinite", "IsInf",
        "IsNan", "Log", "Log1p", "LogicalNot", "Neg", "Reciprocal", "Relu", "Relu6", "Rint", "Round", "Rsqrt", "Selu",
        "Sigmoid", "Sign", "Sin", "Softplus", "Sqrt", "Square", "StaticRegexReplace", "StopGradient", "StringLength",
        "StringLower", "StringStrip", "StringToHashBucketFast", "StringToNumber", "StringUpper", "Tanh", "AsString",
        "DecodeRaw",
    }
)
_SAME_RANK = frozenset(
    {
        "Add", "AddV2", "ClipByValue", "Div", "DivNoNan", "Equal", "FloorDiv", "FloorMod", "Greater", "GreaterEqual",
        "Less", "LessEqual", "LogicalAnd", "LogicalOr", "Maximum", "Minimum", "Mod", "Mul", "MulNoNan", "NotEqual",
        "Pow", "RealDiv", "SelectV2", "SquaredDifference", "Sub", "TruncateDiv", "Xdivy",
    }
)
# fmt: on
# The first input has the rows; the others have none.
# fmt: off
_FIRST = frozenset(
    {
        "AvgPool", "BiasAdd", "Conv2D", "DepthwiseConv2dNative", "LeakyRelu", "MatMul", "MaxPool", "OneHot",
        "ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor", "Softmax", "LogSoftmax", "DecodeCSV",
    }
)
_REDUCTIONS = frozenset(
    {
        "All", "Any", "ArgMax", "ArgMin", "Max", "Mean", "Min", "Prod", "Sum",
    }
)
# fmt: on


def why_not(function: MapFunction) -> str | None:
    """The operation that may mix rows, or changes from call to call; None where all rows stay by themselves."""
    states = function.states()
    if states:
        return ", ".join(states)
    graph = function.concrete.graph
    with_rows = {id(tensor) for tensor in graph.inputs[: len(tf.nest.flatten(function.input))]}
    shapes: set[int] = set()  # vectors that say how large something with rows is
    needed = _needed(graph)
    for op in graph.get_operations():
        if op not in needed:
            continue
        if op.type == "Shape" and id(op.inputs[0]) in with_rows:
            shapes.add(id(op.outputs[0]))
        elif any(id(tensor) in shapes for tensor in op.inputs):
            if not _is_another_size(op):
                return "the number of rows"
        elif any(id(tensor) in with_rows for tensor in op.inputs):
            if not _keeps_rows(op, with_rows):
                return str(op.type)
            with_rows |= {id(tensor) for tensor in op.outputs}
    outputs = [tensor for tensor in graph.outputs if id(tensor) not in with_rows]
    return None if not outputs else f"{outputs[0].op.type}, which does not depend on the rows"


def _needed(graph: Any) -> set[Any]:
    """The operations that the outputs depend on."""
    found: set[Any] = set()
    waiting = [tensor.op for tensor in graph.outputs]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return found


def _is_another_size(op: Any) -> bool:
    """Whether an operation takes one size from a shape, and not that of the rows."""
    begin = _constant(op.inputs[1]) if op.type == "StridedSlice" else None
    return begin is not None and len(begin) == 1 and begin[0] >= 1 and bool(op.get_attr("shrink_axis_mask") & 1)


def _keeps_rows(op: Any, with_rows: set[int]) -> bool:
    kind, inputs = op.type, list(op.inputs)
    has_rows = [id(tensor) in with_rows for tensor in inputs]
    if any(tensor.shape.rank in (None, 0) for tensor, rows in zip(inputs, has_rows, strict=True) if rows):
        return False
    if kind in _ONE:
        return True
    if kind in _SAME_RANK:
        return _broadcasts_beside_rows(op, inputs, has_rows)
    if kind in _FIRST:
        return has_rows[0] and not any(has_rows[1:]) and _attributes_keep_rows(op)
    if kind == "LookupTableFindV2":
        return has_rows[1] and not has_rows[2]
    if kind == "GatherV2":
        return has_rows == [False, True, False] and _constant(inputs[2]) == 0 and op.get_attr("batch_dims") == 0
    if kind in ("Pack", "ConcatV2"):
        axis = op.get_attr("axis") if kind == "Pack" else _constant(inputs[-1])
        tensors = has_rows if kind == "Pack" else has_rows[:-1]
        return all(tensors) and axis is not None and int(axis) % (inputs[0].shape.rank + (kind == "Pack")) != 0
    return _reshapes_beside_rows(op, inputs, has_rows)


def _broadcasts_beside_rows(op: Any, inputs: list[Any], has_rows: list[bool]) -> bool:
    rank = op.outputs[0].shape.rank
    if rank is None:
        return False
    for tensor, rows in zip(inputs, has_rows, strict=True):
        own = tensor.shape.rank
        if rows and own != rank:
            return False
        if not rows and (own is None or own > rank or (own == rank and tensor.shape[0] != 1)):
            return False
    return True


def _attributes_keep_rows(op: Any) -> bool:
    if op.type == "MatMul":
        return not op.get_attr("transpose_a")
    if op.type == "OneHot":
        return bool(op.get_attr("axis") != 0)
    if op.type in ("Softmax", "LogSoftmax"):
        return bool(op.inputs[0].shape.rank >= 2)
    return True


def _reshapes_beside_rows(op: Any, inputs: list[Any], has_rows: list[bool]) -> bool:
    if not has_rows[0] or any(has_rows[1:]):
        return False
    kind, rank = op.type, inputs[0].shape.rank
    values = [_constant(tensor) for tensor in inputs[1:]]
    if kind == "Squeeze":
        dims = op.get_attr("squeeze_dims")
        return bool(dims) and all(dim % rank != 0 for dim in dims)
    if any(value is None for value in values):
        return False
    if kind == "ExpandDims":
        return bool(int(values[0]) % (rank + 1) != 0)
    if kind == "Transpose":
        return int(values[0][0]) == 0
    if kind in ("Pad", "PadV2", "MirrorPad"):
        return list(values[0][0]) == [0, 0]
    if kind in _REDUCTIONS:
        return all(int(axis) % rank != 0 for axis in values[0].reshape(-1)) and values[0].size > 0
    if kind == "Reshape":
        rest = inputs[0].shape[1:]
        shape = [int(size) for size in values[0]]
        product = 1
        for size in shape[1:]:
            product *= size
        return bool(shape) and shape[0] == -1 and rest.is_fully_defined() and bool(product == rest.num_elements())
    if kind == "StridedSlice":
        masks = [op.get_attr(name) & 1 for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")]
        whole = op.get_attr("begin_mask") & 1 and op.get_attr("end_mask") & 1 and int(values[2][0]) == 1
        return bool(whole) and not any(masks)
    return False


def _constant(tensor: Any) -> Any:
    return tf.get_static_value(tensor)
