"""A model's whole state by name: weights, metrics, optimizers, seed generators. Used by the session.

Every worker has the same values of all of them, metrics too: our repairs sum a metric's state over the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasjob_trainer.trainer.failure import Refused


def local_value(variable: Any) -> np.ndarray[Any, Any]:
    """The value on this worker, which may be the variable's own memory. Mirrored variables are read without a
    collective: not all workers save."""
    value = getattr(variable, "_value", variable)
    return np.asarray(tf.distribute.get_strategy().experimental_local_results(value)[0].read_value())


def named(model: Any) -> dict[str, Any]:
    """Variables by path; a path that occurs several times gets a number."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for variable in _all(model):
        if id(variable) in seen:
            continue
        seen.add(id(variable))
        path = getattr(variable, "path", None) or variable.name
        name, number = path, 1
        while name in found:
            number += 1
            name = f"{path}#{number}"
        found[name] = variable
    return found


def optimizers(model: Any) -> list[Any]:
    """The model's own, and those that a program keeps in attributes (a GAN has two), also in lists and dicts."""
    found = [model.optimizer] if getattr(model, "optimizer", None) is not None else []
    for _, value in sorted(vars(model).items()):
        for one in _flat(value):
            if isinstance(one, keras.optimizers.Optimizer) and not any(one is other for other in found):
                found.append(one)
    return found


def values(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """All of them, to be copied before the next step: see `local_value`."""
    return {name: local_value(variable) for name, variable in named(model).items()}


def num_bytes(model: Any) -> int:
    """Of all of them together."""
    return sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in named(model).values())


def metrics(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A copy of what the metrics have counted so far, which a validation begins anew."""
    ours = {id(variable) for variable in model.metrics_variables}
    return {name: np.array(local_value(variable)) for name, variable in named(model).items() if id(variable) in ours}


def optimized(model: Any) -> list[list[str] | None]:
    """For each optimizer, the names of the variables that it trains, in its order; None where it is not built."""
    names = {id(variable): name for name, variable in named(model).items()}
    return [
        [names.get(id(variable), "") for variable in optimizer._trainable_variables] if optimizer.built else None
        for optimizer in optimizers(model)
    ]


def build_optimizers(model: Any, trained: list[list[str] | None]) -> None:
    """Makes the variables of optimizers that a training step would only make when it is traced."""
    variables = named(model)
    for optimizer, names in zip(optimizers(model), trained, strict=False):
        if names is not None and not optimizer.built and all(name in variables for name in names):
            optimizer.build([variables[name] for name in names])


def assign(model: Any, values: dict[str, np.ndarray[Any, Any]], what: str) -> None:
    """Sets all values. Raises Refused where the model has other variables than those that were saved."""
    variables = named(model)
    differ = [f"{name} is new" for name in variables.keys() - values.keys()]
    differ += [f"{name} is missing" for name in values.keys() - variables.keys()]
    differ += [
        f"{name} has shape {tuple(variables[name].shape)}, saved was {values[name].shape}"
        for name in variables.keys() & values.keys()
        if tuple(variables[name].shape) != values[name].shape
    ]
    if differ:
        raise Refused(
            f"{what}: the model's variables are not those of the checkpoint, so the program has changed since it was"
            f" saved: {'; '.join(sorted(differ)[:8])}. Run the program that was saved, or a new job"
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _all(model: Any) -> Iterator[Any]:
    yield from model.variables
    yield from model.metrics_variables
    for optimizer in optimizers(model):
        yield from optimizer.variables
    # A program's own: `self.step = tf.Variable(0)`. Those of a distributed strategy are no `tf.Variable` by type.
    for _, value in sorted(vars(model).items()):
        for one in _flat(value):
            if isinstance(one, (tf.Variable, tf.distribute.DistributedValues)) and hasattr(one, "assign"):
                yield one


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, dict):
        return [value[key] for key in sorted(value, key=str)]
    return [value]
