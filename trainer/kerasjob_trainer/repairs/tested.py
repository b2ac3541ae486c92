"""Which sources of Keras and TensorFlow the repairs were tested with. Used by the registry.

`python -m kerasjob_trainer.repairs.tested` adds the installed versions to tested.json: run the tests first.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

_FILE = Path(__file__).with_name("tested.json")


def versions() -> list[str]:
    """The combinations that were tested."""
    return list(_read())


def unknown_sources(repairs: Iterable[ModuleType]) -> list[str]:
    """Names of the functions that the repairs patch whose source is in none of the tested combinations."""
    table = _read()
    return [
        _name(function)
        for repair in repairs
        for function in repair.PATCHED
        if all(known.get(_name(function)) != source_hash(function) for known in table.values())
    ]


def source_hash(function: Callable[..., object]) -> str:
    """SHA-256 of a function's source."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _read() -> dict[str, dict[str, str]]:
    return json.loads(_FILE.read_text()) if _FILE.exists() else {}


def main() -> None:
    """Writes the file."""
    from kerasjob_trainer import repairs

    table: dict[str, Any] = _read()
    key = f"Keras {keras.__version__} with TensorFlow {tf.__version__}"
    table[key] = {_name(f): source_hash(f) for repair in repairs.ALL for f in repair.PATCHED}
    _FILE.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
