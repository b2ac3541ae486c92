"""Which names a recipe may use: what Keras exports, less what runs code. Used by `arguments`.

There is no list of ours to keep in step: names, aliases and arguments are those of the Keras that is installed.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras
from keras.src import activations, constraints, initializers, losses, metrics, optimizers, regularizers

from kerasjob_api.faults import hint, short

_PYTHON = "it takes Python; write the program as script, module or source for that"
# Exported classes that are no part of a recipe, and why.
REFUSED = {
    "Lambda": "it runs Python code; write the program as script, module or source for that",
    "LambdaCallback": "it runs Python code; write the program as script, module or source for that",
    "LearningRateScheduler": "it takes a Python function; give the optimizer a schedule as its learning_rate",
    "MeanMetricWrapper": _PYTHON,
    "TFSMLayer": "it runs a program from a file",
    "FlaxLayer": _PYTHON,
    "JaxLayer": _PYTHON,
    "TorchModuleWrapper": _PYTHON,
    "MultiOptimizer": _PYTHON,
    "OptimizerMap": _PYTHON,
    "CallbackList": "callbacks are a list already",
    "History": "Keras adds it by itself",
    "Input": "it is the first of model.layers; of a graph, model.functional.inputs",
    "InputLayer": "Input is the first of model.layers; of a graph, model.functional.inputs",
    "Wrapper": "it is a base class",
}


@dataclass(frozen=True)
class Kind:
    """A kind of Keras object. `texts`: the bare names that Keras takes where such an object is expected."""

    noun: str
    classes: dict[str, type]
    texts: frozenset[str] = frozenset()
    ignores_case: bool = False

    def takes(self, text: str) -> bool:
        """Whether Keras knows the bare name."""
        return (text.lower() if self.ignores_case else text) in self.texts

    def no_such(self, name: str) -> str:
        """Why a name is none of these."""
        if name in REFUSED:
            return f"{name} cannot be used in a recipe: {REFUSED[name]}"
        return f"Keras has no {self.noun} {short(name)}{hint(name, sorted({*self.classes, *self.texts}))}"


def _kind(noun: str, namespace: ModuleType, base: type, registry: dict[str, Any], *more: str) -> Kind:
    """registry: Keras's own, of bare names to classes and functions. more: bare names that are not in it."""
    exported = {name: getattr(namespace, name) for name in dir(namespace) if not name.startswith("_")}
    classes = {
        name: value
        for name, value in exported.items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base and name not in REFUSED
    }
    texts = {
        name
        for name, value in registry.items()
        if isinstance(name, str) and (value in classes.values() or inspect.isfunction(value))
    }
    return Kind(noun, classes, frozenset({*texts, *more}), ignores_case=registry is optimizers.ALL_OBJECTS_DICT)


_schedules = keras.optimizers.schedules
LAYER = _kind("layer", keras.layers, keras.layers.Layer, {})
CALLBACK = _kind("callback", keras.callbacks, keras.callbacks.Callback, {})
SCHEDULE = _kind("schedule", _schedules, _schedules.LearningRateSchedule, {})
OPTIMIZER = _kind("optimizer", keras.optimizers, keras.optimizers.Optimizer, optimizers.ALL_OBJECTS_DICT)
LOSS = _kind("loss", keras.losses, keras.losses.Loss, losses.ALL_OBJECTS_DICT)
_of_compile = ("accuracy", "acc", "crossentropy", "ce")
METRIC = _kind("metric", keras.metrics, keras.metrics.Metric, metrics.ALL_OBJECTS_DICT, *_of_compile)
INITIALIZER = _kind("initializer", keras.initializers, keras.initializers.Initializer, initializers.ALL_OBJECTS_DICT)
REGULARIZER = _kind("regularizer", keras.regularizers, keras.regularizers.Regularizer, regularizers.ALL_OBJECTS_DICT)
CONSTRAINT = _kind("constraint", keras.constraints, keras.constraints.Constraint, constraints.ALL_OBJECTS_DICT)
ACTIVATION = Kind("activation", {}, frozenset(activations.ALL_OBJECTS_DICT))

KINDS = (LAYER, CALLBACK, SCHEDULE, OPTIMIZER, LOSS, METRIC, INITIALIZER, REGULARIZER, CONSTRAINT)

_BY_NAME = {
    "layer": LAYER,
    "forward_layer": LAYER,
    "backward_layer": LAYER,
    "cell": LAYER,
    "layers": LAYER,
    "cells": LAYER,
    "learning_rate": SCHEDULE,
    "inner_optimizer": OPTIMIZER,
}
_BY_ENDING = {
    "initializer": INITIALIZER,
    "regularizer": REGULARIZER,
    "constraint": CONSTRAINT,
    "activation": ACTIVATION,
}
LISTS = ("layers", "cells")


def kind_of(argument: str) -> Kind | None:
    """What an argument of a Keras class takes, by Keras's way to name them; None for plain data."""
    if argument in _BY_NAME:
        return _BY_NAME[argument]
    return _BY_ENDING.get(argument.rpartition("_")[2])


def datasets() -> dict[str, Any]:
    """The modules of keras.datasets by name."""
    found = {name: getattr(keras.datasets, name) for name in dir(keras.datasets) if not name.startswith("_")}
    return {name: module for name, module in found.items() if hasattr(module, "load_data")}
