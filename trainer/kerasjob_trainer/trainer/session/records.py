"""What `session.json` holds: finished calls, the one in progress, and by what a call is known again."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from kerasjob_api.wire import KeepConfig
from kerasjob_trainer import retention
from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.session import randomness

VERSION = 3
RECIPE_MODULE = "kerasjob_trainer.recipe.running"


@dataclass
class CallRecord:
    """One `fit`. `epochs` and `history` are those of Keras's History. `fingerprint`: see `fingerprints`.

    `random_start`: random states when the call began; `random_epoch`: when the data of the epoch in progress began;
    `random`: at the end of the call, or where it was saved.
    `epoch`: the one in progress, or the next; `begun`: whether its callbacks have begun it.
    `step`: steps of it that are done, without `partial` more of an execution of several; `logs`: those of the last one;
    `ended`: there are no more of them in the epoch; `stopped`: since a callback has stopped training.
    `model`: its number, by when it was trained first. `trained`: what each optimizer trains, see
    `variables.optimized`.
    `train_seconds`: what the steps since the start of the program took.
    `checkpoint`: holds the model's state at the end of the call; None where it trained nothing.
    `callbacks`: the state of the program's own.
    """

    call: int
    fingerprint: dict[str, Any]
    random_start: dict[str, Any]
    random_epoch: dict[str, Any]
    random: dict[str, Any]
    model: int = 0
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
    train_seconds: float = 0.0
    callbacks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Evaluation:
    """One `evaluate` of the program's own. `site`: where it is called; `result`: each metric by name."""

    site: str
    result: dict[str, Any]


@dataclass
class Kept:
    """Of the checkpoints that stay for good: the best value of the metric, and the newest bucket of each kind."""

    best: float | None = None
    newest: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def takes(self, step: int, position: dict[str, Any], metrics: dict[str, float], keep: KeepConfig) -> bool:
        """Whether this one stays for good, as far as is known now; counts it in."""
        stays = False
        for (kind, *bucket), _ in retention.buckets(step, position, keep):
            if tuple(bucket) > self.newest.get(str(kind), ()):
                self.newest[str(kind)], stays = tuple(bucket), True
        value = metrics.get(keep.best.metric) if keep.best is not None else None
        if keep.best is not None and value is not None and retention.is_better(keep.best, value, self.best):
            self.best, stays = value, True
        return stays


class SessionRecord:
    """The whole session at a checkpoint. What is finished does not change any more, and is made text of once."""

    def __init__(self) -> None:
        self.finished: list[CallRecord] = []
        self.current: CallRecord | None = None
        self.evaluations: list[Evaluation] = []
        self.kept = Kept()
        self.num_workers = 1
        self._texts: list[str] = []  # of the finished calls
        self._words: dict[str, int] = {}

    def to_text(self) -> str:
        """As JSON."""
        for record in self.finished[len(self._texts) :]:
            data = asdict(record)
            data["random"] = randomness.share_words(data["random"], self._words)
            self._texts.append(json.dumps(data))
        rest = {
            "version": VERSION,
            "current": None if self.current is None else asdict(self.current),
            "evaluations": [vars(evaluation) for evaluation in self.evaluations],
            "kept": asdict(self.kept),
            "workers": self.num_workers,
            "words": list(self._words),
        }
        return f'{json.dumps(rest)[:-1]}, "finished": [{", ".join(self._texts)}]}}'

    @classmethod
    def read(cls, path: Path) -> SessionRecord:
        """Reads `session.json`. Raises Refused for another version."""
        data = json.loads(path.read_text())
        if data.get("version") != VERSION:
            raise Refused(f"the checkpoint has session version {data.get('version')}; this trainer knows {VERSION}")
        record = cls()
        for finished in data["finished"]:
            finished["random"] = randomness.unshare_words(finished["random"], data["words"])
            record.finished.append(CallRecord(**finished))
        if data["current"] is not None:
            record.current = CallRecord(**data["current"])
        newest = {kind: tuple(bucket) for kind, bucket in data["kept"]["newest"].items()}
        record.kept = Kept(data["kept"]["best"], newest)
        record.num_workers = data["workers"]
        record.evaluations = [Evaluation(**evaluation) for evaluation in data["evaluations"]]
        return record


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


def metrics_of_epoch(record: CallRecord) -> dict[str, float]:
    """What `fit` shows of the last epoch, where it is a number."""
    newest = {name: values[-1] for name, values in record.history.items() if values}
    return {name: float(v) for name, v in newest.items() if isinstance(v, (int, float)) and math.isfinite(v)}


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


def recorded_result(saved: SessionRecord, number: int, site: str) -> dict[str, Any]:
    """The result of an evaluation (from 0). Raises Refused where it is not the one at this place."""
    then = saved.evaluations[number].site if number < len(saved.evaluations) else "no place"
    if then != site:
        raise Refused(
            f"evaluation {number + 1} was at {then} and is at {site}, so the program has changed or does not run the"
            " same way twice. Run the program that was saved, or a new job"
        )
    return saved.evaluations[number].result
