"""A model's whole state by name: weights, optimizer, seed generators. Used by the session.

Metric sums are no part of it: a checkpoint is taken where an epoch or a call ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kerasjob_trainer.trainer.failure import Refused


def local_value(variable: Any) -> np.ndarray[Any, Any]:
    """The value on this worker. Mirrored variables are read without a collective: not all workers save."""
    value = getattr(variable, "_value", variable)
    return np.array(tf.distribute.get_strategy().experimental_local_results(value)[0].numpy(), order="C")


def named(model: Any) -> dict[str, Any]:
    """Variables by path; a path that occurs several times gets a number."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    optimizer = getattr(model, "optimizer", None)
    for variable in [*model.variables, *(optimizer.variables if optimizer is not None else [])]:
        if id(variable) in seen:
            continue
        seen.add(id(variable))
        name, number = variable.path, 1
        while name in found:
            number += 1
            name = f"{variable.path}#{number}"
        found[name] = variable
    return found


def snapshot(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A copy of all values."""
    return {name: local_value(variable) for name, variable in named(model).items()}


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
