"""Strategic merge of `spec.podTemplate` onto the generated pod. Pure.

Maps merge; a null deletes; scalars replace. Lists named in MERGE_KEYS merge by that key, in the order of the generated
pod, new entries after; APPENDED lists are appended; every other list is replaced as a whole.
"""

from __future__ import annotations

from typing import Any

from kerasjob_core.core_objects import KEYS

APPENDED = ("tolerations", "envFrom", "readinessGates")
MERGE_KEYS = {name: key for name, (key, _) in KEYS.items() if name not in APPENDED}


def merge(base: Any, patch: Any, name: str = "") -> Any:
    """The base with the patch laid over it. Neither is changed."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = dict(base)
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged[key], value, key) if key in merged else value
        return merged
    if isinstance(base, list) and isinstance(patch, list):
        if name in APPENDED:
            return [*base, *patch]
        if name in MERGE_KEYS:
            return _merge_by(MERGE_KEYS[name], base, patch)
    return patch


def _merge_by(key: str, base: list[Any], patch: list[Any]) -> list[Any]:
    patches = {name: item for item in patch if (name := _name(item, key)) is not None}
    merged = []
    for item in base:
        name = _name(item, key)
        merged.append(merge(item, patches.pop(name)) if name in patches else item)
    return [*merged, *(item for item in patch if (name := _name(item, key)) is None or name in patches)]


def _name(item: Any, key: str) -> str | int | None:
    """What an entry is known by; None where that cannot be compared: it is the server's to judge."""
    name = item.get(key) if isinstance(item, dict) else None
    return name if isinstance(name, (str, int)) else None
