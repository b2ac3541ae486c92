"""What the trainer says over its control socket, one JSON object a line, and what the agent takes from it.

Called by the supervisor on the main loop. The trainer's side is `trainer/control.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerasjob_api.codec import from_wire
from kerasjob_api.constants import WorkerState
from kerasjob_api.wire import FailureRecord, Progress
from kerasjob_trainer.held import Shelf, files_of_trainer
from kerasjob_trainer.manifests import Saved
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.run import Run
from kerasjob_trainer.status import Status
from kerasjob_trainer.uploads import Uploads


def hear_trainer(
    run: Run,
    message: dict[str, Any],
    status: Status,
    meters: Meters,
    uploads: Uploads,
    shelf: Shelf,
    *,
    is_current: bool,
) -> None:
    """Takes over one message. What a trainer of an older ring still says counts only where it saves."""
    run.touch()
    kind = message["type"]
    if kind == "saved":
        saved = _saved(run, message)
        shelf.put(saved)
        if message["upload"]:
            uploads.add(saved)
    elif kind == "notSaved":
        meters.checkpoint_failed()
    elif kind == "late":
        meters.checkpoint_left_out()
    elif kind == "rescuing":
        run.rescuing = True
    elif kind == "failure":
        run.failure = from_wire(FailureRecord, message["record"])
    elif kind == "call":
        run.histories.append({key: message[key] for key in ("call", "epochs", "history")})
    elif kind == "evaluated":
        run.evaluations.append(message["result"])
    elif is_current and not run.cancelled.is_set():
        _hear_current(run, message, status, meters)


def _saved(run: Run, message: dict[str, Any]) -> Saved:
    control, buffer = run.control, message["buffer"]
    assert control is not None
    return Saved(
        files_of_trainer(message["file"], Path(message["directory"]), lambda: control.release(buffer)),
        run.ring.revision,
        message["step"],
        run.parent,
        message["position"],
        tuple(message["keep"]),
        message["metrics"],
    )


def _hear_current(run: Run, message: dict[str, Any], status: Status, meters: Meters) -> None:
    kind = message["type"]
    if kind == "formed" and status.state is WorkerState.FORMING:
        run.watched = False
        status.move(WorkerState.TRAINING)
    elif kind == "watched":
        run.watched = message["on"]
    elif kind == "progress":
        status.set(progress=from_wire(Progress, message["progress"]))
        meters.trainer_says(message)
    elif kind == "sought":
        meters.gauge("kerasjob_data_seek_seconds", message["seconds"])
    elif kind == "restored":
        meters.gauge("kerasjob_restore_seconds", message["seconds"])
