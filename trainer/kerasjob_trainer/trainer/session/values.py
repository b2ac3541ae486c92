"""Values of a program's callbacks as JSON and arrays, from which they are made again exactly. Used by `callback_state`.

What JSON has no word for is a dictionary with a tag: `{"kerasjob": "tuple", "items": […]}`.
"""

from __future__ import annotations

import base64
import io
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np

from kerasjob_trainer.trainer.session.buffers import KNOWN_DTYPES

TAG = "kerasjob"

Tensors = dict[str, np.ndarray[Any, Any]]

_PLAIN = (bool, int, float, str, type(None))
_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_DICTS: dict[type, str] = {dict: "dict", OrderedDict: "OrderedDict", Counter: "Counter"}
_MAKERS: dict[str, Any] = {name: kind for kinds in (_SEQUENCES, _DICTS) for kind, name in kinds.items()}
_FACTORIES: dict[Any, str] = {kind: kind.__name__ for kind in (list, dict, set, int, float, str, bool, tuple)}
_OF_FACTORIES = {name: kind for kind, name in _FACTORIES.items()}


class NotKept(Exception):
    """What cannot be made again in another process."""


class Gone(Exception):
    """An array that is not there any more."""


def encode(value: Any, name: str, tensors: Tensors) -> Any:
    """For JSON; arrays go to `tensors`, by names that begin with this one. Raises NotKept."""
    added: Tensors = {}
    if type(value) is defaultdict and value.default_factory not in _FACTORIES:
        value = defaultdict(None, value)  # which a program sets when it makes the callback, and which stays
    try:
        encoded = _encode(value, name, added)
    except RecursionError:
        raise NotKept("what contains itself") from None
    tensors |= added
    return encoded


def _encode(value: Any, name: str, tensors: Tensors) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_encode(item, name, tensors) for item in value]
    if kind is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: _encode(item, name, tensors) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _array(value, name, tensors)
    if isinstance(value, np.generic):
        plain = value.item()
        if type(plain) in (bool, int, float) and _is_told_by_text(value.dtype):
            return _tagged("scalar", dtype=value.dtype.str, value=plain)
        return _tagged("generic", items=_array(np.asarray(value), name, tensors))
    if kind is complex:
        return _tagged("complex", items=[value.real, value.imag])
    if kind is bytes:
        return _tagged("bytes", text=base64.b64encode(value).decode())
    if kind in _SEQUENCES:
        return _tagged(_SEQUENCES[kind], items=_encode(list(value), name, tensors))
    if kind is deque:
        return _tagged("deque", items=_encode(list(value), name, tensors), maxlen=value.maxlen)
    if kind in _DICTS:
        return _tagged(_DICTS[kind], items=_pairs(value, name, tensors))
    if kind is defaultdict and value.default_factory in (None, *_FACTORIES):
        factory = _FACTORIES.get(value.default_factory)
        return _tagged("defaultdict", items=_pairs(value, name, tensors), factory=factory)
    raise NotKept(kind.__name__)


def decode(encoded: Any, tensors: Tensors) -> Any:
    """The value, in objects of its own. Raises Gone where one of its arrays is not there."""
    if isinstance(encoded, list):
        return [decode(item, tensors) for item in encoded]
    if not isinstance(encoded, dict):
        return encoded
    if TAG not in encoded:
        return {key: decode(item, tensors) for key, item in encoded.items()}
    kind, items = encoded[TAG], decode(encoded.get("items"), tensors)
    if kind == "array":
        if encoded["name"] not in tensors:
            raise Gone(encoded["name"])
        return np.array(tensors[encoded["name"]])
    if kind == "npy":
        return np.load(io.BytesIO(base64.b64decode(encoded["text"])), allow_pickle=False)
    if kind == "scalar":
        return np.dtype(encoded["dtype"]).type(encoded["value"])
    if kind == "generic":
        return items[()]
    if kind == "complex":
        return complex(*items)
    if kind == "bytes":
        return base64.b64decode(encoded["text"])
    if kind == "deque":
        return deque(items, encoded["maxlen"])
    if kind == "defaultdict":
        return defaultdict(_OF_FACTORIES.get(encoded["factory"]), items)
    return _MAKERS[kind](dict(items) if kind == "Counter" else items)


def _tagged(kind: str, **rest: Any) -> dict[str, Any]:
    return {TAG: kind, **rest}


def _pairs(value: dict[Any, Any], name: str, tensors: Tensors) -> Any:
    return [[_encode(key, name, tensors), _encode(item, name, tensors)] for key, item in value.items()]


def _is_told_by_text(dtype: np.dtype[Any]) -> bool:
    """Not so of bfloat16 and its like."""
    return np.dtype(dtype.str) == dtype


def _array(value: np.ndarray[Any, Any], name: str, tensors: Tensors) -> dict[str, Any]:
    """One that a checkpoint can hold goes there, another one (texts, dates) into the JSON."""
    if type(value) is not np.ndarray or value.dtype.hasobject:
        raise NotKept(f"array of {value.dtype}")
    if value.dtype.name in KNOWN_DTYPES and value.dtype.isnative:
        key = f"{name}/{len(tensors)}"
        tensors[key] = np.array(value, order="C")
        return _tagged("array", name=key)
    if value.dtype.fields is None and not _is_told_by_text(value.dtype):
        raise NotKept(f"array of {value.dtype}")
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return _tagged("npy", text=base64.b64encode(file.getvalue()).decode())
