"""What a program's own datasets and functions draw from and count with, to be compared before and after they are read.

Random generators, variables and numbers that can be reached: in attributes, in closures, defaults and those module
globals that the code names. What changes in a list or an array in place is not seen. Used by `seeking`.
"""

from __future__ import annotations

import functools
import io
import json
import random
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.ops import stateful_random_ops

from kerasjob_trainer.trainer.session import pipelines
from kerasjob_trainer.trainer.session.variables import local_value

# With more than this it is not told what moves.
OBJECTS_MAX = 20_000
# A larger dictionary is a table, and counts nothing.
NAMES_MAX = 1_000

_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType, np.number, np.bool_)
# What a program has put there is not looked for in objects of these packages and of Python itself.
_LEAVES = {"tensorflow", "keras", "numpy"}
_OPEN = {"types", "argparse"}  # but for namespaces,
_FEATURES = (keras.Layer, keras.utils.PyDataset)  # and these, of which programs make kinds of their own
_CALLABLES = (
    types.MethodType,
    types.BuiltinFunctionType,
    staticmethod,
    classmethod,
    property,
    functools.partial,
    functools.cached_property,
    functools._lru_cache_wrapper,
)
_PARTS = ("__self__", "__func__", "__wrapped__", "fget", "func", "args", "keywords")  # of those


def of(roots: Iterable[Any]) -> list[Any]:
    """Equal to what another call gives where nothing has moved in between; where that is in doubt it is not."""
    return _Walk([*roots, stateful_random_ops.global_generator]).found


class _Walk:
    """Over all that can be reached. `found`: the states, in the order in which they were come by."""

    def __init__(self, roots: list[Any]) -> None:
        self.found: list[Any] = []
        self._packages = {_package(_module(root)) for root in roots} - _LEAVES
        self._seen: dict[int, Any] = {}
        self._todo = roots
        while self._todo and len(self._seen) <= OBJECTS_MAX:
            value = self._todo.pop()
            if not isinstance(value, _PLAIN) and id(value) not in self._seen:
                self._seen[id(value)] = value
                try:
                    self._visit(value)
                except Exception:  # of an object that does not like to be looked at
                    self.found.append(object())
        if self._todo:
            self.found.append(object())

    def _visit(self, value: Any) -> None:
        state = _state(value)
        if state is not None:
            self.found.append(state)
        elif isinstance(value, dict) and len(value) <= NAMES_MAX:
            self._bound(value.items())
        elif isinstance(value, dict):
            self._todo += value.values()
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            self._todo += value
        elif isinstance(value, np.ndarray):
            self._todo += value.flat if value.dtype == object else ()
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, _CALLABLES):
            self._todo += [getattr(value, part, None) for part in _PARTS]
        elif isinstance(value, tf.types.experimental.PolymorphicFunction):
            self._todo.append(value.python_function)
        elif isinstance(value, type):
            self._bound(vars(value).items() if self._is_own(value.__module__) else ())
        elif not _is_leaf(value):
            self._bound(_attributes(value))
            self._todo += type(value).__mro__

    def _bound(self, items: Iterable[tuple[Any, Any]]) -> None:
        """Names and what they stand for: whether that is still the same, and what can be reached from it."""
        for name, value in items:
            self.found.append((name, value if isinstance(value, _PLAIN) else _Same(value)))
            self._todo.append(value)

    def _function(self, function: types.FunctionType) -> None:
        self._bound((str(index), _content(cell)) for index, cell in enumerate(function.__closure__ or ()))
        self._todo += [function.__defaults__, function.__kwdefaults__, *vars(function).values()]
        if self._is_own(function.__globals__.get("__name__", "")):
            self._globals(function.__globals__, set(_names(function.__code__)), set())

    def _globals(self, namespace: dict[str, Any], names: set[str], passed: set[int]) -> None:
        """Of a module, and what is named of other modules that it names, or that a function imports: `helpers.rng`."""
        for name in sorted(names & (namespace.keys() | sys.modules.keys())):
            value = namespace.get(name, sys.modules.get(name))
            self._bound([(name, value)])
            if isinstance(value, types.ModuleType) and id(value) not in passed:
                passed.add(id(value))
                self._globals(vars(value), names, passed)

    def _is_own(self, module: str) -> bool:
        """Whether the code is the program's: others' has too much in reach, and is looked at where it is a root."""
        return _package(module) in self._packages or not _is_library(module)


class _Same:
    """Equal where it is the same object, which it keeps: a new one cannot take its address."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value


def _state(value: Any) -> Any:
    """What a value will give next; an object that equals no other where that cannot be told; None of what gives
    nothing by itself."""
    if isinstance(value, random.SystemRandom):
        return object()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.RandomState):
        return _text(value.get_state(legacy=False))
    if isinstance(value, np.random.Generator):
        return _text(value.bit_generator.state)
    if isinstance(value, (np.random.BitGenerator, np.random.SeedSequence)):
        return _text(value.state)
    if isinstance(value, (tf.random.Generator, keras.random.SeedGenerator)):
        return local_value(value.state).tobytes()
    if isinstance(value, (tf.Variable, tf.distribute.DistributedValues, keras.Variable)):
        return local_value(value).tobytes()
    if isinstance(value, tf.data.Dataset):
        return object() if pipelines.movers(value).any else None
    if isinstance(value, Iterator) and not isinstance(value, (io.IOBase, keras.utils.PyDataset)):
        return object()
    return None


def _text(state: Any) -> str:
    return json.dumps(state, default=lambda value: value.tolist())


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield name, getattr(value, name, None)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a variable that has no value yet
        return None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_leaf(value: Any) -> bool:
    package = _package(_module(type(value)))
    of_python = package in sys.stdlib_module_names and package not in _OPEN
    return isinstance(value, types.ModuleType) or (
        (of_python or package in _LEAVES) and not isinstance(value, _FEATURES)
    )


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _package(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def _is_library(module: str) -> bool:
    if module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return True
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts) or Path(file).is_relative_to(
        sysconfig.get_path("stdlib")
    )
