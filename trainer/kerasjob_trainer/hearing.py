"""What the trainer says over its control socket, one JSON object a line, and what the agent takes from it.

Called by the supervisor on the main loop. The trainer's side is `trainer/control.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasjob_api.constants import WorkerState
from kerasjob_api.wire import FailureRecord, Progress, from_wire
from kerasjob_trainer.checkpoints import Saved
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.run import Run
from kerasjob_trainer.status import Status
from kerasjob_trainer.uploads import Uploads


def read_control(control: socket.socket, hear: Callable[[dict[str, Any]], None]) -> None:
    """Reads until the trainer has gone. Runs in a thread."""
    with control, control.makefile("rb") as lines:
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # the last line of a trainer that was killed
            hear(message)


def hear_trainer(
    run: Run, message: dict[str, Any], status: Status, meters: Meters, uploads: Uploads, *, is_current: bool
) -> None:
    """Takes over one message. What a trainer of an older ring still says counts only where it saves."""
    run.touch()
    kind = message["type"]
    if kind == "saving":
        run.saving += 1
    elif kind == "saved":
        run.saving -= 1
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
        run.saving -= 1
        meters.checkpoint_failed()
    elif kind == "failure":
        run.failure = from_wire(FailureRecord, message["record"])
    elif kind == "call":
        run.histories.append({key: message[key] for key in ("call", "epochs", "history")})
    elif kind == "evaluated":
        run.evaluations.append(message["result"])
    elif is_current and not run.cancelled.is_set():
        _hear_current(run, message, status, meters)


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
