"""What is said of a job that has ended, was interrupted, or is only looked at. Reads, never writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kerasjob.local.state import JobDir, StoredJob
from kerasjob_api.constants import ConditionType
from kerasjob_core.conditions import is_true


@dataclass(frozen=True)
class SavedAt:
    """Where a checkpoint stands in the program."""

    call: int
    epoch: int
    step: int


def failure_lines(job: StoredJob, directory: JobDir) -> list[str]:
    """Why a job failed: type, message, file and line as `status.lastFailure` has them, and where the log is."""
    failed = job.status.condition(ConditionType.FAILED)
    lines = [f"job {job.name} failed: {failed.reason if failed is not None else 'for an unknown reason'}"]
    failure = job.status.last_failure
    if failure is None:
        return lines
    lines.append(f"  {failure.reason}: {failure.message}")
    if failed is not None and failed.reason != failure.reason:
        lines.append(f"  {failed.message}")
    if failure.worker is not None:
        incarnation = failure.pod.rpartition("-")[2]
        lines.append(f"  worker {failure.worker}, log: {directory.log(failure.worker, int(incarnation or 0))}")
    return lines


def newest_checkpoint(store: Path, uid: str) -> SavedAt | None:
    """The newest manifest by (ring revision, step) in a directory of checkpoints; see docs/contracts.md."""
    best: tuple[tuple[int, int], SavedAt] | None = None
    for file in (store / uid / "manifests").glob("*.json"):
        try:
            data = json.loads(file.read_text())
            position = data["position"]
            key = (int(data["ringRevision"]), int(data["step"]))
            found = SavedAt(int(position["call"]), int(position["epoch"]), int(data["step"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not whole: the trainer passes it over as well
        if best is None or key > best[0]:
            best = (key, found)
    return best[1] if best is not None else None


def status_line(job: StoredJob, is_running: bool) -> list[str]:
    """The columns of `kerasjob status`, those that `kubectl get kj` shows."""
    status, display = job.status, job.status.display
    phase = status.phase or "Pending"
    if not job.has_ended and not is_true(status, ConditionType.INVALID) and not is_running:
        phase = "Stopped"  # `kerasjob run` of the same file goes on
    workers = display.workers if is_running else f"0/{job.spec.workers}"
    eta = display.eta if is_running else ""
    return [job.name, phase, workers, display.epoch, display.step, display.loss, eta, str(status.restarts)]
