"""Snapshots as local files, for the agent, which uploads them or hands them to other workers. The session's.

What is saved as a matter of course is written in a thread, by the first worker. What a worker still holds when it must
end is written at once.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.checkpoints import checkpoint_id, file_record
from kerasjob_trainer.log import log
from kerasjob_trainer.outputs import ARCHIVE
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control


@dataclass(frozen=True)
class Snapshot:
    """A whole state, which must not change any more.

    `session`: JSON text. `outputs`: an archive of the program's files. `keep`: checkpoints that this one needs.
    """

    step: int
    phase: SavePhase
    revision: int
    tensors: dict[str, np.ndarray[Any, Any]]
    session: str
    position: dict[str, Any]
    keep: tuple[str, ...]
    outputs: Path | None = None

    @property
    def id(self) -> str:
        return checkpoint_id(self.step, self.phase, self.revision)

    def write(self, directory: Path) -> None:
        """Writes the files."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, directory / "state.safetensors")
        (directory / "session.json").write_text(self.session)
        if self.outputs is not None:
            shutil.copy(self.outputs, directory / ARCHIVE)

    def describe(self, directory: Path) -> dict[str, Any]:
        """What the agent is told of it."""
        return {
            "directory": str(directory),
            "step": self.step,
            "position": self.position,
            "keep": list(self.keep),
        }


class Saver:
    """One write at a time: the next one waits for the one before."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._thread: threading.Thread | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Has it written, and uploaded by the agent."""
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="saver")
        self._thread.start()

    def wait(self) -> None:
        """Until everything is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def hold(self, snapshots: list[Snapshot]) -> None:
        """Writes what this worker holds, for the agent to give to whoever needs it. The newest first."""
        self._control.send("rescuing")
        held = []
        for snapshot in snapshots:
            directory = Path(self._spec.held) / snapshot.id
            snapshot.write(directory)
            files = [file_record(path) for path in sorted(directory.iterdir())]
            held.append({**snapshot.describe(directory), "files": files})
        self._control.send("held", held=held)

    def _write(self, snapshot: Snapshot) -> None:
        directory = Path(self._spec.snapshots) / snapshot.id
        try:
            snapshot.write(directory)
        except Exception as error:
            log.error("the snapshot of step %d cannot be written to %s: %s", snapshot.step, directory, error)
            shutil.rmtree(directory, ignore_errors=True)
            self._control.send("notSaved")
            return
        self._control.send("saved", **snapshot.describe(directory))
