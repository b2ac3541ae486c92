"""Lists a job's checkpoints as people read them: `python -m kerasjob_trainer.listing`, in a worker's pod or beside one.

Reads what the agent reads: KERASJOB_CONFIG and the keys. What is in the store is listed, whether a worker runs or not.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from kerasjob_trainer import retention
from kerasjob_trainer.checkpoints import Checkpoints, open_checkpoints
from kerasjob_trainer.manifests import Manifest
from kerasjob_trainer.settings import read
from kerasjob_trainer.store import StoreError

COLUMNS = ("STEP", "FIT", "EPOCH", "SAVED", "SIZE", "METRICS", "KEPT AS", "WHERE")


def main() -> int:
    """Prints the table, or JSON. Exit codes: 0 well, 2 where it cannot."""
    parser = argparse.ArgumentParser(prog="kerasjob checkpoints", description=__doc__)
    parser.add_argument("--json", action="store_true", help="all that is known, as JSON")
    options = parser.parse_args()
    try:
        settings = read()
        if settings.config.checkpoint is None:
            raise StoreError("the job has no spec.checkpoint, so nothing is saved")
        checkpoints = open_checkpoints(settings)
        found = checkpoints.manifests()
    except (StoreError, OSError, KeyError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    why = retention.kept(found, checkpoints.keep)
    if options.json:
        print(json.dumps([_entry(checkpoints, one, why.get(one.id, [])) for one in found], indent=1))
        return 0
    rows = [COLUMNS, *(_row(checkpoints, one, why.get(one.id, [])) for one in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _entry(checkpoints: Checkpoints, one: Manifest, why: list[str]) -> dict[str, Any]:
    return {"id": one.id, "uri": checkpoints.uri(one.id), "keras": checkpoints.keras_uri(one), "why": why, **one.data}


def _row(checkpoints: Checkpoints, one: Manifest, why: list[str]) -> tuple[str, ...]:
    position = one.position
    in_epoch = f", step {position['step']}" if position["phase"] == "step" else ""
    return (
        str(one.step),
        str(position["call"] + 1),
        f"{position['epoch'] + bool(in_epoch)}{in_epoch}",
        one.saved_at,
        _size(sum(int(file["bytes"]) for file in one.files)),
        " ".join(f"{name}={value:.4g}" for name, value in one.metrics.items()) or "-",
        ", ".join(why) or "-",
        checkpoints.keras_uri(one) or checkpoints.uri(one.id),
    )


def _size(num_bytes: float) -> str:
    for unit in ("kB", "MB"):
        num_bytes /= 1000
        if num_bytes < 1000:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} GB"


if __name__ == "__main__":
    sys.exit(main())
