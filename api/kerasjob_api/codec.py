"""Dataclasses as JSON-ready data and back, camelCase outside. Without a library, whose import the agent would wait for.

Reading is lenient (unknown fields are ignored) because an operator of one version meets agents of another; writing is
exact.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


def to_wire(value: Any) -> Any:
    """A dataclass as JSON-ready data with camelCase keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_camel(f.name): to_wire(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    if isinstance(value, dict):
        return {key: to_wire(item) for key, item in value.items()}
    return value


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        return _convert(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path}: expected a list, got {value!r}")
        (item_hint, _ellipsis) = get_args(hint)
        return tuple(_convert(item_hint, item, f"{path}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_wire(hint, value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and hint in (str, int, float, bool) and type(value) is not hint:
        raise ValueError(f"{path}: expected {hint.__name__}, got {value!r}")
    return value


# Of a thousand reports a second the types are the same.
_HINTS: dict[type, dict[str, Any]] = {}


def from_wire(cls: type[T], data: Any, path: str = "") -> T:
    """Reads a dataclass from parsed JSON. Unknown keys are ignored. Raises ValueError that names the field."""
    if not isinstance(data, dict):
        raise ValueError(f"{path or cls.__name__}: expected an object, got {data!r:.80}")
    hints = _HINTS.get(cls) or _HINTS.setdefault(cls, get_type_hints(cls))
    known: dict[str, Any] = {}
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        key = _camel(f.name)
        where = f"{path}.{key}".lstrip(".")
        if key in data:
            known[f.name] = _convert(hints[f.name], data[key], where)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: missing")
    return cls(**known)
