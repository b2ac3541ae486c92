"""docs/fidelity.md: what the table gave, as a page for users."""

from itertools import groupby
from typing import Any

import keras
import tensorflow as tf
from tests.fidelity.table import FEATURES

_HEADINGS = {
    "basics": "fit, evaluate, predict",
    "callbacks": "Callbacks",
    "distributing": "Programs that distribute themselves",
    "input_data": "Data",
    "layers": "Layers",
    "optimizing": "Optimizers",
    "train_steps": "Custom training",
}
_COLUMNS = {"2": "2 workers", "3": "3 workers", "2x2": "2 × 2 devices", "32": "2 workers, float32"}
_INTRODUCTION = """# N workers give what one gives

Each row is a small Keras program, written for one machine. It ran in one plain process, without a line of ours, and
then on several workers under the repairs. A number is the largest relative difference of anything that came out: losses
and metrics of every epoch, all weights, all optimizer variables, predictions, files that were written. All workers of a
run must agree bit for bit. The batches have a tail, and three workers divide none of them.

Columns in float64 hold to 1e-9, where rounding cannot hide another formula; most differ by one bit. In float32 the same
program only adds in another order, and each row says how much that may be. `make test-fidelity` runs the table and
writes this page; `make test` runs its first column.

"""


def document(table: dict[str, dict[str, Any]], before: str = "") -> str:
    """The page. `table`: cells by row and column; a row that was not measured now stays as it was `before`."""
    kept = {line.split(" | ")[0]: line for line in before.splitlines() if line.startswith("| ")}
    parts = [_INTRODUCTION + f"Measured with Keras {keras.__version__} and TensorFlow {tf.__version__}.\n"]
    for group, names in groupby(FEATURES, key=lambda name: FEATURES[name].group):
        parts.append(f"\n## {_HEADINGS[group]}\n")
        parts.append("| feature | " + " | ".join(_COLUMNS.values()) + " | float32 may differ by |")
        parts.append("|---|" + "---|" * (len(_COLUMNS) + 1))
        for name in names:
            feature = FEATURES[name]
            label = "| " + feature.name.replace("|", "\\|") + (f" ({feature.note})" if feature.note else "")
            if name in table:
                cells = " | ".join(str(table[name].get(column, "")) for column in _COLUMNS)
                parts.append(f"{label} | {cells} | {feature.float32:.0e}: {feature.reason} |")
            else:
                parts.append(kept.get(label, f"{label} | " + " | ".join(["not measured"] * len(_COLUMNS)) + " | |"))
    return "\n".join(parts) + "\n"
