"""The state of a program's callbacks: what EarlyStopping has waited, the best loss so far. Used by the session.

Of Keras's own callbacks those attributes that decide what comes next; of the program's own all that can be made again
exactly, see `values`. Files, models and locks stay what the program makes anew.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import types
from collections import deque
from typing import Any

import keras
import numpy as np
from keras.src import tree

from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.session import values

_PREFIX = "kerasjob.callback"
_ARRAYS = "kerasjob.arrays"  # of checkpoints before `values`
_OF_KERAS: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_weights", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    keras.callbacks.TensorBoard: ("_global_train_batch", "_global_test_batch", "_should_write_train_graph"),
    keras.callbacks.CSVLogger: ("keys",),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
_OF_CALL = ("model", "_model", "params")  # set by Keras for each call

Tensors = dict[str, np.ndarray[Any, Any]]


def given(arguments: dict[str, Any]) -> list[Any]:
    """The program's own, of the arguments of a `fit`."""
    callbacks = arguments["callbacks"]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return list(tree.flatten(callbacks or []))


class Mark:
    """The values of those callbacks that do something before a batch, as of now: lists by their length alone.

    Taken at every step, so cheap; the others are still what they are when a step fails.
    """

    def __init__(self, callbacks: list[Any]) -> None:
        self._values = {id(c): {name: _marked(getattr(c, name, None)) for name in _names(c)} for c in callbacks}

    def value(self, callback: Any, name: str) -> Any:
        """What an attribute was."""
        marked = self._values.get(id(callback), {}).get(name, getattr(callback, name, None))
        return marked.now() if isinstance(marked, _Length) else marked


def begin_batches(callbacks: list[Any]) -> list[Any]:
    """Those of the callbacks that do something before a batch."""
    base = keras.callbacks.Callback
    return [
        callback
        for callback in callbacks
        if any(
            getattr(type(callback), hook, None) is not getattr(base, hook) or hook in vars(callback)
            for hook in ("on_batch_begin", "on_train_batch_begin")
        )
    ]


def capture(callbacks: list[Any], mark: Mark | None = None) -> tuple[list[dict[str, Any]], Tensors]:
    """The values of each callback, and arrays by name; as of now, or as of a mark."""
    mark = mark or Mark([])
    records, tensors = [], Tensors()
    for index, callback in enumerate(callbacks):
        kept: dict[str, Any] = {}
        for name in _names(callback):
            value = mark.value(callback, name)
            try:
                kept[name] = values.encode(value, f"{_PREFIX}/{index}/{name}", tensors)
            except values.NotKept as error:
                _say_not_kept(callback, name, value, str(error))
        records.append({"type": type(callback).__qualname__, "kept": kept})
    return records, tensors


def restore(callbacks: list[Any], records: list[dict[str, Any]], tensors: Tensors) -> None:
    """Sets what was captured; a callback that is another one now keeps what it has, as do arrays that are gone."""
    for index, (callback, record) in enumerate(zip(callbacks, records, strict=False)):
        if type(callback).__qualname__ != record["type"]:
            continue
        kept = record["kept"] if "kept" in record else _of_before(callback, index, record["values"])
        for name, encoded in kept.items():
            with contextlib.suppress(values.Gone):
                _set(callback, name, values.decode(encoded, tensors))


def _set(callback: Any, name: str, value: Any) -> None:
    """In place where that can be: what the program has made of it (an attribute of its own, a global) is the same."""
    now: Any = getattr(callback, name, None)
    if type(now) is not type(value) or getattr(now, "maxlen", None) != getattr(value, "maxlen", None):
        setattr(callback, name, value)
    elif isinstance(now, (list, deque)):
        now.clear()
        now.extend(value)
    elif isinstance(now, (dict, set)):
        now.clear()
        now.update(value)
    else:
        setattr(callback, name, value)


def _of_before(callback: Any, index: int, plain: dict[str, Any]) -> dict[str, Any]:
    """Values as checkpoints had them that knew no types but JSON's."""
    kept: dict[str, Any] = {}
    for name, value in plain.items():
        key = f"{_PREFIX}/{index}/{name}"
        if isinstance(value, dict) and _ARRAYS in value:
            arrays = [key] if value[_ARRAYS] is None else [f"{key}/{i}" for i in range(value[_ARRAYS])]
            items = [{values.TAG: "array", "name": array} for array in arrays]
            kept[name] = items[0] if value[_ARRAYS] is None else items
        elif isinstance(value, list) and isinstance(getattr(callback, name, None), tuple):
            kept[name] = {values.TAG: "tuple", "items": value}
        else:
            kept[name] = value
    return kept


def will_append(callbacks: list[Any]) -> None:
    """A call that goes on goes on with its files as well: a CSVLogger would begin its own anew."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.append = True


def split(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Variables of the model, and arrays of callbacks."""
    of_callbacks = {name: value for name, value in tensors.items() if name.startswith(f"{_PREFIX}/")}
    return {name: value for name, value in tensors.items() if name not in of_callbacks}, of_callbacks


def _names(callback: Any) -> list[str]:
    known = [name for kind, names in _OF_KERAS.items() if isinstance(callback, kind) for name in names]
    known = [name for name in known if hasattr(callback, name)]
    if _is_of_keras(type(callback)):
        return known  # what else Keras has is settings, files and threads
    of_keras = _set_by_keras(callback.__class__)
    own = [name for name in vars(callback) if name not in (*_OF_CALL, *known)]
    return known + [name for name in own if not (name.startswith("_") and name in of_keras)]


class _Length:
    """Of a list that only grows."""

    def __init__(self, value: list[Any]) -> None:
        self._value, self._length = value, len(value)

    def now(self) -> list[Any]:
        return self._value[: self._length]


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return _Length(value)
    return copy.copy(value) if isinstance(value, (dict, set, deque, np.ndarray)) else value


# What a program makes anew, and is not asked about.
_CODE = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, keras.Layer)
_said: set[tuple[str, str]] = set()


def _say_not_kept(callback: Any, name: str, value: Any, what: str) -> None:
    key = type(callback).__qualname__, name
    if key in _said or isinstance(value, _CODE) or name in _set_by_keras(callback.__class__):
        return
    _said.add(key)
    log.info("%s.%s is not part of checkpoints (%s): it stays what the program makes anew", *key, what)


@functools.cache
def _set_by_keras(kind: Any) -> frozenset[str]:
    """The attributes that Keras's own code in a kind of callbacks sets."""
    return frozenset(
        str(instruction.argval)
        for base in kind.__mro__
        if _is_of_keras(base)
        for function in vars(base).values()
        if isinstance(function, types.FunctionType)
        for instruction in dis.get_instructions(function)
        if instruction.opname == "STORE_ATTR"
    )


def _is_of_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"
