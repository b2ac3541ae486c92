"""The rows of the fidelity table: each is a small Keras program, as a user writes it for one machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Feature:
    """`float32`: tolerance in float32, with its reason. `float64`: tolerance in float64; None where Keras itself does
    not run the row in it."""

    name: str
    group: str
    row: Row
    float32: float
    reason: str
    float64: float | None
    note: str


FEATURES: dict[str, Feature] = {}


def feature(
    name: str,
    *,
    float32: float = 1e-5,
    reason: str = "sums in another order",
    float64: float | None = 1e-9,
    note: str = "",
) -> Callable[[Row], Row]:
    """Puts a function into the table."""

    def add(row: Row) -> Row:
        group = row.__module__.rpartition(".")[2]
        FEATURES[row.__name__] = Feature(name, group, row, float32, reason, float64, note)
        return row

    return add
