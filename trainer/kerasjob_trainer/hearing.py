"""What the trainer says over its control socket, one JSON object a line, and what the agent takes from it.

Called by the supervisor on the main loop. The trainer's side is `trainer/control.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kerasjob_api.constants import WorkerState
from kerasjob_api.wire import FailureRecord, Progress, from_wire
from kerasjob_trainer.checkpoints import Saved
from kerasjob_trainer.held import Held, Shelf
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
        uploads.add(
            Saved(
                Path(message["directory"]),
                run.ring.revision,
                message["step"],
                run.parent,
                message["position"],
                tuple(message["keep"]),
            )
        )
    elif kind == "notSaved":
        meters.checkpoint_failed()
    elif kind == "rescuing":
        run.rescuing = True
    elif kind == "held":
        shelf.put([_held(run, one) for one in message["held"]])
    elif kind == "failure":
        run.failure = from_wire(FailureRecord, message["record"])
    elif kind == "call":
        run.histories.append({key: message[key] for key in ("call", "epochs", "history")})
    elif kind == "evaluated":
        run.evaluations.append(message["result"])
    elif is_current and not run.cancelled.is_set():
        _hear_current(run, message, status, meters)


def _held(run: Run, data: dict[str, Any]) -> Held:
    return Held(
        run.ring.revision,
        data["step"],
        data["position"],
        tuple(data["keep"]),
        tuple(data["files"]),
        run.parent,
        Path(data["directory"]),
    )


def _hear_current(run: Run, message: dict[str, Any], status: Status, meters: Meters) -> None:
    kind = message["type"]
    if kind == "formed" and status.state is WorkerState.FORMING:
        run.watched = False
        status.move(WorkerState.TRAINING)
    elif kind == "fit":
        run.watched = message["inside"]
    elif kind == "progress":
        status.set(progress=from_wire(Progress, message["progress"]))
        meters.trainer_says(message)
    elif kind == "restored":
        meters.gauge("kerasjob_restore_seconds", message["seconds"])
