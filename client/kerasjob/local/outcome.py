"""What is said of a job that has ended, was interrupted, or is only looked at. Reads, never writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from kerasjob.local.state import JobDir, StoredJob
from kerasjob_api.constants import ConditionType, SavePhase
from kerasjob_core.conditions import is_true


@dataclass(frozen=True)
class SavedAt:
    """Where a checkpoint stands in the program. `total_step` counts from the program's start, `step` in its epoch; both
    `call` (of `fit`) and `epoch` from 0."""

    total_step: int
    call: int
    epoch: int
    step: int
    phase: SavePhase

    def __str__(self) -> str:
        if self.phase is SavePhase.CALL_END:
            return f"step {self.total_step}, the end of fit call {self.call + 1}"
        within = f" after its step {self.step}" if self.step else ""
        return f"step {self.total_step}; goes on in fit call {self.call + 1}, epoch {self.epoch + 1}{within}"


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
    """The newest manifest by (ring revision, step, phase) in a directory of checkpoints; see docs/contracts.md."""
    best: tuple[tuple[int, int, int], SavedAt] | None = None
    for file in (store / uid / "manifests").glob("*.json"):
        try:
            data = json.loads(file.read_text())
            position = data["position"]
            phase, total_step = SavePhase(position["phase"]), int(data["step"])
            key = (int(data["ringRevision"]), total_step, phase.order)
            found = SavedAt(total_step, int(position["call"]), int(position["epoch"]), int(position["step"]), phase)
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
