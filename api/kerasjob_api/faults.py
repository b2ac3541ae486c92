"""How a fault in what a user wrote is worded: the nearest right name, the value, no more than a person can take.

Used by the checks of recipes, here and in the trainer.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

# What else is a boolean to kubectl.
YAML_BOOLEANS = {"true": "y, yes and on", "false": "n, no and off"}
NAMES_SHOWN_MAX = 30
FAULTS_MAX = 30
FAULT_MAX = 600


def hint(name: str, known: Collection[str]) -> str:
    """The nearest right name (`lstm` is near `LSTM`), or all of them where they are few."""
    if name in YAML_BOOLEANS:
        return f"; without quotes YAML reads {YAML_BOOLEANS[name]} as {name}: quote it"
    plain = _without_case(name)
    near = difflib.get_close_matches(plain, {_without_case(right): None for right in known}, n=1)
    nearest = [right for right in known if _without_case(right) == near[0]] if near else []
    if not nearest and len(plain) >= 3:
        nearest = [right for right in known if _without_case(right).startswith(plain)][:1]
    if nearest:
        return f"; did you mean {max(nearest, key=lambda right: difflib.SequenceMatcher(None, name, right).ratio())!r}?"
    return f"; known here: {', '.join(known)}" if 0 < len(known) <= NAMES_SHOWN_MAX else ""


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def readable(faults: list[str]) -> list[str]:
    """Not more than a status or a person can take."""
    more = [f"and {len(faults) - FAULTS_MAX} more"] if len(faults) > FAULTS_MAX else []
    return [fault if len(fault) <= FAULT_MAX else fault[: FAULT_MAX - 1] + "…" for fault in faults[:FAULTS_MAX]] + more


def _without_case(name: str) -> str:
    return name.replace("_", "").lower()
