"""What `session.json` holds: finished calls, the one in progress, and by what a call is known again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from kerasjob_trainer.trainer.failure import Refused

VERSION = 2
RECIPE_MODULE = "kerasjob_trainer.recipe.running"


@dataclass
class CallRecord:
    """One `fit`. `epochs` and `history` are those of Keras's History.

    `random_start`: random states when the call began; `random_epoch`: when the data of the epoch in progress began;
    `random`: at the end of the call, or where it was saved.
    `epoch`: the one in progress, or the next; `begun`: whether its callbacks have begun it.
    `step`: steps of it that are done, without `partial` more of an execution of several; `logs`: those of the last one;
    `ended`: there are no more of them in the epoch; `stopped`: since a callback has stopped training.
    `trained`: what each optimizer trains, see `variables.optimized`.
    `checkpoint`: holds the model's state at the end of the call; None where it trained nothing.
    `callbacks`: the state of the program's own.
    """

    call: int
    fingerprint: dict[str, Any]
    random_start: dict[str, Any]
    random_epoch: dict[str, Any]
    random: dict[str, Any]
    first_epoch: int = 0
    epochs: list[int] = field(default_factory=list)
    history: dict[str, list[Any]] = field(default_factory=dict)
    epoch: int = 0
    begun: bool = False
    step: int = 0
    partial: int = 0
    ended: bool = False
    stopped: bool = False
    logs: dict[str, Any] = field(default_factory=dict)
    trained: list[list[str] | None] = field(default_factory=list)
    checkpoint: str | None = None
    total_step: int = 0
    callbacks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class SessionRecord:
    """The whole session at a checkpoint."""

    finished: list[CallRecord] = field(default_factory=list)
    current: CallRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def read(cls, path: Path) -> SessionRecord:
        """Reads `session.json`. Raises Refused for another version."""
        data = json.loads(path.read_text())
        if data.get("version") != VERSION:
            raise Refused(f"the checkpoint has session version {data.get('version')}; this trainer knows {VERSION}")
        current = data["current"]
        return cls(
            [CallRecord(**record) for record in data["finished"]],
            None if current is None else CallRecord(**current),
        )


def plain(value: Any) -> Any:
    """A value of a History for JSON; numbers stay exactly what they are."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    array = np.asarray(value)
    return array.tolist() if array.dtype != object else str(value)


def fingerprint(arguments: dict[str, Any], program_dir: Path) -> dict[str, Any]:
    """By what a call of `fit` is recognised when the program runs again."""
    return {
        "site": call_site(program_dir),
        "epochs": plain(arguments.get("epochs")),
        "batch_size": plain(arguments.get("batch_size")),
        "steps_per_epoch": plain(arguments.get("steps_per_epoch")),
        "initial_epoch": plain(arguments.get("initial_epoch")),
    }


def call_site(program_dir: Path) -> str:
    """File and line of the user's code that called us; of a recipe, which has none, `recipe`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == RECIPE_MODULE:
            return "recipe"
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(program_dir):
            return f"{path.relative_to(program_dir)}:{frame.f_lineno}"
        if frame.f_globals.get("__name__") == "__main__":  # an absolute script of the image
            return f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def check_same(record: CallRecord, now: dict[str, Any]) -> None:
    """Raises Refused where a call is not the one that was saved."""
    then = record.fingerprint
    differ = [f"{key} was {then.get(key)!r} and is {now[key]!r}" for key in now if then.get(key) != now[key]]
    if differ:
        raise Refused(
            f"fit call {record.call + 1} is not the one that was saved, so the program has changed or does not run the"
            f" same way twice: {'; '.join(differ)}. Run the program that was saved, or a new job"
        )
