"""What the last trainer of this worker still held when a peer was lost: snapshots of whole steps, as local files.

Put here as the trainer says it (`hearing`), given to other workers over HTTP (`server`), looked through for the newest
when a ring is formed (`restore`).
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.checkpoints import Saved, checkpoint_id, order_of


@dataclass(frozen=True)
class Held:
    """One snapshot. `files`: as in a manifest. `directory`: on this worker, where it is this worker's."""

    revision: int
    step: int
    position: dict[str, Any]
    keep: tuple[str, ...]
    files: tuple[dict[str, Any], ...]
    parent: str | None = None
    directory: Path | None = None

    @property
    def id(self) -> str:
        return checkpoint_id(self.step, SavePhase(self.position["phase"]), self.revision)

    @property
    def order(self) -> tuple[int, int, int]:
        """As of manifests: the newest is the greatest."""
        return order_of(self.revision, self.step, self.position)

    def to_json(self) -> dict[str, Any]:
        """For another worker."""
        names = ("revision", "step", "position", "keep", "files", "parent")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Held:
        """Raises KeyError, TypeError or ValueError for what is no such thing."""
        known = {name: data[name] for name in ("revision", "step", "position", "parent")}
        held = cls(**known, keep=tuple(data["keep"]), files=tuple(data["files"]))
        _ = held.order
        return held

    def saved(self, directory: Path) -> Saved:
        """As if a trainer had saved it in a directory."""
        return Saved(directory, self.revision, self.step, self.parent, self.position, self.keep)


class Shelf:
    """What is held now: of one ring revision, the newest that has left something. May be asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[Held] = []

    def put(self, held: list[Held]) -> None:
        """Takes the place of what was held, whose files go."""
        with self._lock:
            before, self._held = self._held, held
        kept = {one.directory for one in held}
        for one in before:
            if one.directory is not None and one.directory not in kept:
                shutil.rmtree(one.directory, ignore_errors=True)

    def all(self) -> list[Held]:
        """The newest first."""
        with self._lock:
            return sorted(self._held, key=lambda one: one.order, reverse=True)

    def file(self, id_: str, name: str) -> Path | None:
        """A file of a snapshot."""
        for one in self.all():
            if one.id == id_ and one.directory is not None and name in [file["name"] for file in one.files]:
                return one.directory / name
        return None
