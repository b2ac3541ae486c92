"""Tries a program's own training step before the first real one: on a few rows spread over the replicas, and on the
same rows all at once, as one process would. What differs cannot be trained on several workers, and is said.

The rule of this package holds for what is a mean over rows or a function of each row. A step that sums over the batch,
or contrasts its rows with each other, looks the same from outside. Called by the repair of Keras's train function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src import tree
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer

from kerasjob_trainer.global_batch import collectives, input, rows, step
from kerasjob_trainer.global_batch.rows import RowBatch, Rows, RowStore

# What rounding may do to a step of a few rows, relative to a whole gradient, and to a log.
GRADIENT_TOLERANCE, LOG_TOLERANCE = 1e-2, 1e-3
_METHODS = ("train_step", "compute_loss", "compute_metrics")

Step = Callable[[Any], Any]


class _CannotBeTried(BaseException):
    """Raised while a step is traced."""


def is_of_program(model: Any) -> bool:
    """Whether a training step runs code that is not Keras's: methods, layers, losses."""
    if any(getattr(type(model), name) is not getattr(TensorFlowTrainer, name) for name in _METHODS):
        return True
    losses = getattr(getattr(model, "_compile_loss", None), "_user_loss", None)
    parts = [*model._flatten_layers(include_self=False), *tree.flatten(losses)]
    return any(not _is_of_keras(part) for part in parts)


def difference(step_function: Step, strategy: tf.distribute.Strategy, data: RowBatch, traced: Any) -> str | None:
    """What a step gives otherwise on several replicas, in words; None where nothing does, or where it cannot be tried.

    Leaves all variables as they were. `traced(function)` traces one, as often as that takes.
    """
    replicas = strategy.num_replicas_in_sync
    dense = all(isinstance(leaf, tf.Tensor) and leaf.dtype != tf.string for leaf in tree.flatten(data.parts))
    if not dense or int(data.total) < 2 * replicas:
        return None
    total = replicas + 1  # one has two rows, the others one: a share that is forgotten shows
    first = input.first_replica(strategy)
    parts = []
    for i, part in enumerate(data.parts):
        start, stop = rows.bounds(total, first + i, replicas)
        parts.append(tree.map_structure(lambda leaf, n=stop - start: leaf[:n], part))
    few = RowBatch(tf.constant(total, tf.int64), tuple(parts))
    one = RowStore(strategy, num_replicas=1)

    def spread(batch: Any) -> Any:
        return _recorded(step_function, batch)

    def at_once(batch: Any) -> Any:
        current = rows.current()
        assert current is not None
        whole = tree.map_structure(lambda leaf: collectives.gather_rows(leaf, current), batch)
        with rows.in_step(Rows(0, tf.stack([current.total]), one)):
            return _recorded(step_function, whole)

    several = _try(spread, strategy, few, traced)
    if several is None:
        return None
    alone = _try(at_once, strategy, few, traced)
    return None if alone is None else _compare(several, alone)


def _recorded(step_function: Step, batch: Any) -> Any:
    """Logs, and the gradients that the step takes, by the names of their variables."""
    with step.recording() as gradients:
        logs = step_function(batch)
        step.finish()
    current = rows.current()
    if current is None or current.has_inner_graphs or not gradients:
        # A function of the program that is traced once keeps the rows that it was traced with.
        raise _CannotBeTried
    tensors = [tf.convert_to_tensor(gradient) for _, gradient in gradients]
    return {"logs": logs, "gradients": tensors}, [name for name, _ in gradients]


def _try(function: Step, strategy: tf.distribute.Strategy, few: RowBatch, traced: Any) -> dict[str, Any] | None:
    names: list[str] = []

    def replica(batch: Any) -> Any:
        found, names[:] = function(batch)
        return found

    wrapped = step.wrap(replica, strategy)
    try:
        concrete = traced(tf.function(step.plain(lambda: strategy.run(wrapped, args=(few,)))).get_concrete_function)
    except _CannotBeTried:
        return None
    before = [(variable, tf.identity(variable)) for variable in concrete.graph.variables]
    try:
        found = tree.map_structure(lambda leaf: strategy.experimental_local_results(leaf)[0], concrete())
    finally:
        for variable, value in before:
            variable.assign(value)
    gradients = list(zip(names, map(np.asarray, found["gradients"]), strict=True))
    return {"logs": dict(_named(found["logs"])), "gradients": gradients}


def _named(logs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(logs, dict):
        for key, value in logs.items():
            yield from _named(value, str(key))
    elif tf.is_tensor(logs) and logs.shape.rank == 0 and logs.dtype.is_floating:
        yield name, float(logs)


def _compare(several: dict[str, Any], alone: dict[str, Any]) -> str | None:
    norms = [float(np.linalg.norm(value)) for _, value in alone["gradients"]]
    for (name, ours), (_, theirs), norm in zip(several["gradients"], alone["gradients"], norms, strict=True):
        if norm < 1e-6 * max(norms) or not np.isfinite(norm):
            continue
        apart = float(np.linalg.norm(ours - theirs)) / norm
        if not apart <= GRADIENT_TOLERANCE:
            return f"the gradient of {name} is {apart:.0%} off"
    for name, value in alone["logs"].items():
        ours = several["logs"][name]
        if np.isfinite(value) and not abs(ours - value) <= LOG_TOLERANCE * abs(value) + 1e-6:
            return f"{name} is {ours:.6g} instead of {value:.6g}"
    return None


def _is_of_keras(part: Any) -> bool:
    if part is None or isinstance(part, str):
        return True
    kind = part if callable(part) and hasattr(part, "__qualname__") else type(part)
    return str(kind.__module__).partition(".")[0] == "keras"
