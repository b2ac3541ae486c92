"""The state of a program's callbacks: what EarlyStopping has waited, the best loss so far. Used by the session.

Of Keras's own callbacks those attributes that decide what comes next; of the program's own all that are plain values,
also in lists and dicts. Files, models and locks stay what the program makes anew.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import keras
import numpy as np
from keras.src import tree

_PREFIX = "kerasjob.callback"
_ARRAYS = "kerasjob.arrays"
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
    """Plain values of each callback, and arrays by name; as of now, or as of a mark."""
    mark = mark or Mark([])
    records, tensors = [], Tensors()
    for index, callback in enumerate(callbacks):
        values: dict[str, Any] = {}
        for name in _names(callback):
            value = mark.value(callback, name)
            if isinstance(value, (list, tuple)) and value and all(isinstance(v, np.ndarray) for v in value):
                values[name] = {_ARRAYS: len(value)}
                tensors |= {f"{_PREFIX}/{index}/{name}/{i}": np.array(v, order="C") for i, v in enumerate(value)}
            elif isinstance(value, np.ndarray) and value.dtype != object:
                values[name] = {_ARRAYS: None}
                tensors[f"{_PREFIX}/{index}/{name}"] = np.array(value, order="C")
            else:
                with contextlib.suppress(_NotPlain):
                    values[name] = _plain(value)
        records.append({"type": type(callback).__qualname__, "values": values})
    return records, tensors


def restore(callbacks: list[Any], records: list[dict[str, Any]], tensors: Tensors) -> None:
    """Sets what was captured; a callback that is another one now keeps what it has, as do arrays that are gone."""
    for index, (callback, record) in enumerate(zip(callbacks, records, strict=False)):
        if type(callback).__qualname__ != record["type"]:
            continue
        for name, value in copy.deepcopy(record["values"]).items():
            now = getattr(callback, name, None)
            if isinstance(value, dict) and _ARRAYS in value:
                number, key = value[_ARRAYS], f"{_PREFIX}/{index}/{name}"
                if (key if number is None else f"{key}/0") not in tensors:
                    continue
                value = tensors[key] if number is None else [tensors[f"{key}/{i}"] for i in range(number)]
            elif isinstance(now, (list, dict)) and type(now) is type(value):
                # In place: what the program has made of it (an attribute of its own, a global) is the same object.
                now.clear()
                now.extend(value) if isinstance(now, list) else now.update(value)
                continue
            elif isinstance(now, tuple) and isinstance(value, list):
                value = tuple(value)
            setattr(callback, name, value)


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
    if type(callback).__module__.partition(".")[0] == "keras":
        return known  # what else Keras has is settings, files and threads
    of_keras = any(base.__module__.partition(".")[0] == "keras" for base in type(callback).__mro__[1:-2])
    own = [name for name in vars(callback) if name not in (*_OF_CALL, *known)]
    return known + ([name for name in own if not name.startswith("_")] if of_keras else own)


class _Length:
    """Of a list that only grows."""

    def __init__(self, value: list[Any]) -> None:
        self._value, self._length = value, len(value)

    def now(self) -> list[Any]:
        return self._value[: self._length]


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return _Length(value)
    return dict(value) if isinstance(value, dict) else value


class _NotPlain(Exception):
    """A value that JSON does not know."""


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise _NotPlain
