"""Runs the fidelity table, prints it and writes it down.

python -m tests.fidelity [--columns 2,3,2x2,32] [--write FILE] [ROW ...]

A column is workers, or workers x devices, in float64; 32 is two workers in float32. Ends with 1 where a row does not
hold.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fidelity.harness import PLAIN, RowFailed, Shape, largest_difference, run
from tests.fidelity.table import FEATURES, Feature

COLUMNS = ("2", "3", "2x2", "32")


@dataclass(frozen=True)
class Cell:
    """What a row gave in a column: the largest relative difference from one plain process, or how it failed."""

    difference: float
    where: str
    tolerance: float
    ranks_agree: bool = True
    failure: str = ""

    @property
    def holds(self) -> bool:
        return not self.failure and self.ranks_agree and self.difference <= self.tolerance

    def __str__(self) -> str:
        if self.failure:
            return "fails"
        if not self.ranks_agree:
            return "workers differ"
        return f"{self.difference:.0e}" + ("" if self.holds else f" (more than {self.tolerance:.0e}: {self.where})")


def shape_of(column: str, feature: Feature) -> tuple[Shape, float]:
    """The processes of a column, and the tolerance of a row in it."""
    if column == "32" or feature.float64 is None:
        shape = Shape(2) if column == "32" else Shape(*map(int, column.split("x")))
        return replace(shape, floatx="float32"), feature.float32
    return Shape(*map(int, column.split("x"))), feature.float64


def measure(feature: Feature, column: str, folder: Path, references: dict[str, dict]) -> Cell:
    """Runs one cell. `references` keeps what one process gave, by floatx."""
    shape, tolerance = shape_of(column, feature)
    try:
        if shape.floatx not in references:
            (references[shape.floatx],) = run(feature.row, replace(PLAIN, floatx=shape.floatx), folder / "plain")
        results = run(feature.row, shape, folder / "several")
    except RowFailed as error:
        return Cell(float("inf"), "", tolerance, failure=str(error))
    difference, where = max(largest_difference(references[shape.floatx], result) for result in results)
    agree = all(largest_difference(results[0], result)[0] == 0.0 for result in results)
    return Cell(difference, where, tolerance, agree)


def main() -> int:
    from tests.fidelity import rows  # noqa: F401

    import kerasjob_trainer.trainer.main  # noqa: F401

    parser = argparse.ArgumentParser(prog="python -m tests.fidelity")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--write", type=Path)
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    columns = options.columns.split(",")
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.rows or FEATURES:
            began, references = time.monotonic(), {}
            cells = {column: measure(FEATURES[name], column, Path(folder), references) for column in columns}
            table[name] = cells
            words = "  ".join(f"{column}: {cell}" for column, cell in cells.items())
            print(f"{name}  {words}  {time.monotonic() - began:.1f} s", flush=True)
            print(*{cell.failure[-1500:] for cell in cells.values() if cell.failure}, sep="\n", end="", flush=True)
    if options.write is not None:
        from tests.fidelity.document import document

        before = options.write.read_text() if options.write.exists() else ""
        options.write.write_text(document(table, before))
    return 0 if all(cell.holds for cells in table.values() for cell in cells.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
