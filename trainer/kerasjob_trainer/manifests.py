"""What a checkpoint is: its files, its name, its manifest, and a state that is to become one. Reads no store.

The manifest is in docs/contracts.md. Used by the agent; names and files by the session too.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.digests import OncePerFile
from kerasjob_trainer.outputs import is_archive
from kerasjob_trainer.store import StoreError

# What every checkpoint has; that of a program which has made files has them as well.
FILES = ("state.safetensors", "session.json")
# What those that stay for good have besides.
KERAS_FILE = "model.keras"
# What names of checkpoints and of their files look like: they become paths, and come from the store or another worker.
_ID = re.compile(r"\d{12,}\.\d-r\d+")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checkpoint_id(step: int, phase: SavePhase, revision: int) -> str:
    """Names a checkpoint; sorts for people as `Manifest.order` does within a ring revision."""
    return f"{step:012}.{phase.order}-r{revision}"


def order_of(revision: int, step: int, position: dict[str, Any]) -> tuple[int, int, int]:
    """Of a state: the newest is the greatest."""
    return revision, step, SavePhase(position["phase"]).order


@dataclass(frozen=True)
class Manifest:
    """A committed checkpoint."""

    id: str
    revision: int
    step: int
    data: dict[str, Any]

    @property
    def order(self) -> tuple[int, int, int]:
        """The newest is the greatest."""
        return order_of(self.revision, self.step, self.position)

    @property
    def saved_at(self) -> str:
        return str(self.data.get("savedAt", ""))

    @property
    def keep(self) -> list[str]:
        """Checkpoints that this one needs to be restored."""
        return [str(item) for item in self.data.get("keep", [])]

    @property
    def files(self) -> list[dict[str, Any]]:
        return list(self.data["files"])

    @property
    def position(self) -> dict[str, Any]:
        return dict(self.data["position"])

    @property
    def metrics(self) -> dict[str, float]:
        """Of the epoch whose end it is; none where it is no end."""
        return dict(self.data.get("metrics", {}))


class Files:
    """The files of a snapshot. `paths`: by name, where they are on this worker. `records`: as in a manifest."""

    def __init__(self, paths: dict[str, Path], records: list[dict[str, Any]] | None = None) -> None:
        self.paths = dict(sorted(paths.items()))
        self._records = records
        self._lock = threading.Lock()

    def records(self) -> list[dict[str, Any]]:
        """Reads all files where it is the first to ask. Raises OSError."""
        with self._lock:
            if self._records is None:
                self._records = [file_record(name, path) for name, path in self.paths.items()]
            return self._records


@dataclass(frozen=True)
class Saved:
    """A state that a trainer has told: of this worker, or of another one (whose paths are not known)."""

    files: Files
    revision: int
    step: int
    parent: str | None
    position: dict[str, Any]
    keep: tuple[str, ...]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return checkpoint_id(self.step, SavePhase(self.position["phase"]), self.revision)

    @property
    def order(self) -> tuple[int, int, int]:
        """As of manifests: the newest is the greatest."""
        return order_of(self.revision, self.step, self.position)

    def to_json(self) -> dict[str, Any]:
        """For another worker. Raises OSError."""
        names = ("revision", "step", "position", "keep", "parent", "metrics")
        return {"files": self.files.records(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Saved:
        """Raises KeyError, TypeError or ValueError for what is no such thing."""
        known = {name: data[name] for name in ("revision", "step", "position", "parent", "metrics")}
        saved = cls(Files({}, list(data["files"])), **known, keep=tuple(data["keep"]))
        _ = saved.order
        check_names([saved.id, *saved.keep], saved.files.records())
        return saved


def now() -> str:
    """The time as RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_record(name: str, path: Path) -> dict[str, Any]:
    """A file in a manifest."""
    size = path.stat().st_size
    return {"name": name, "bytes": size, "sha256": _archive_digest(path) if is_archive(name) else sha256(path)}


_archive_digest = OncePerFile(lambda path: sha256(path))


def is_whole(path: Path, record: dict[str, Any]) -> bool:
    """Whether a file is the one that was recorded."""
    return bool(path.stat().st_size == record["bytes"] and sha256(path) == record["sha256"])


def check_names(ids: list[str], files: list[dict[str, Any]]) -> None:
    """Raises KeyError, TypeError or ValueError where one of them is not as we give them."""
    for id_ in ids:
        if not _ID.fullmatch(id_):
            raise ValueError(f"{id_!r:.100} names no checkpoint")
    for file in files:
        _ = file["bytes"], bytes.fromhex(file["sha256"])
        if not _FILE_NAME.fullmatch(file["name"]):
            raise ValueError(f"{file['name']!r:.100} names no file of a checkpoint")


class Damaged(StoreError):
    """A checkpoint does not verify."""


def parse(id_: str, content: bytes | None) -> Manifest:
    """Reads a manifest; None: it is not there. Raises Damaged."""
    if content is None:
        raise Damaged(f"manifest {id_} is gone")
    try:
        data = json.loads(content)
        manifest = Manifest(id_, int(data["ringRevision"]), int(data["step"]), data)
        check_names([id_, *manifest.keep], manifest.files)
        _ = manifest.order, manifest.position["call"], manifest.position["epoch"], manifest.metrics.items()
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"manifest {id_} is damaged: {error!r}") from error
    return manifest
