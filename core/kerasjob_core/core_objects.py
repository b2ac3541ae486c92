"""Shapes of what a spec gives as in core/v1, as far as merging and rendering read them. Called by `validate`.

The rest of their schema is the API server's: it sees the whole pod before anything is made.
"""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_camel

from kerasjob_api.spec import CORE_OBJECTS

# Deeper than any pod, and far from where parsers and printers give up.
DEPTH_MAX = 32

CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# Lists of objects: what each entry is known by, and what else it must have where it is not an overlay's.
KEYS: dict[str, tuple[str, type]] = {
    **dict.fromkeys(CONTAINERS, ("name", str)),
    "volumes": ("name", str),
    "env": ("name", str),
    "volumeMounts": ("mountPath", str),
    "imagePullSecrets": ("name", str),
    "ports": ("containerPort", int),
    "hostAliases": ("ip", str),
    "topologySpreadConstraints": ("topologyKey", str),
    "tolerations": ("key", str),
    "readinessGates": ("conditionType", str),
    "envFrom": ("prefix", str),
}
OF_CONTAINERS = ("env", "envFrom", "ports", "volumeMounts")
NEEDED = {"volumes": ("name",), "volumeMounts": ("name", "mountPath")}
FIELDS = tuple(to_camel(name) for name in CORE_OBJECTS)


def too_deep(data: dict[str, Any]) -> list[str]:
    """What is nested too deeply to be read at all: to be asked before anything else looks into it."""
    return [
        f"spec.{name}: nested more than {DEPTH_MAX} deep"
        for name in FIELDS
        if name in data and _depth_exceeds(data[name], DEPTH_MAX)
    ]


def core_object_faults(data: dict[str, Any]) -> list[str]:
    """What is wrong with the lists of a spec; that they are lists of objects, its types say."""
    faults = []
    for name in (name for name in FIELDS if name in KEYS and isinstance(data.get(name), list)):
        for index, item in enumerate(data[name]):
            if isinstance(item, dict):
                faults += _entry_faults(name, item, f"spec.{name}[{index}]", NEEDED.get(name, ()))
    return faults


def list_faults(name: str, value: Any, path: str) -> list[str]:
    """What is wrong with a list of an overlay. Null takes away what the operator has there."""
    if value is None:
        return []
    if not isinstance(value, list):
        return [f"{path}: expected a list of objects, got {value!r:.80}"]
    faults = []
    for index, item in enumerate(value):
        if isinstance(item, dict):
            faults += _entry_faults(name, item, f"{path}[{index}]")
        else:
            faults.append(f"{path}[{index}]: expected an object, got {item!r:.80}")
    return faults


def text_map_faults(value: Any, path: str) -> list[str]:
    """What is wrong with labels or annotations."""
    if value is None:
        return []
    if not isinstance(value, dict):
        return [f"{path}: expected an object of texts, got {value!r:.80}"]
    return [
        f"{path}.{key}: expected text, got {item!r:.80}"
        for key, item in value.items()
        if item is not None and not isinstance(item, str)
    ]


def _entry_faults(name: str, item: dict[str, Any], path: str, needed: tuple[str, ...] = ()) -> list[str]:
    key, kind = KEYS[name]
    faults = [f"{path}.{field}: required, but not given" for field in needed if item.get(field) is None]
    for field, expected in {key: kind, **dict.fromkeys(needed, str)}.items():
        given = item.get(field)
        if given is not None and (not isinstance(given, expected) or isinstance(given, bool)):
            faults.append(f"{path}.{field}: expected {'text' if expected is str else 'a number'}, got {given!r:.80}")
    if name in CONTAINERS:
        for field in OF_CONTAINERS:
            faults += list_faults(field, item.get(field), f"{path}.{field}")
    return faults


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
