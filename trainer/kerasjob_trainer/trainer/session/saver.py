"""Writes a snapshot to local files in a thread, then tells the agent, which uploads it. The session's, on rank 0."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control


class Saver:
    """One write at a time: the next one waits for the one before."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._thread: threading.Thread | None = None

    def save(
        self,
        id_: str,
        step: int,
        tensors: dict[str, np.ndarray[Any, Any]],
        session: dict[str, Any],
        position: dict[str, Any],
        keep: list[str],
    ) -> None:
        """Takes over a snapshot, which must not change any more."""
        self.wait()
        self._control.send("saving")
        text = json.dumps(session)
        self._thread = threading.Thread(
            target=self._write, args=(id_, step, tensors, text, position, keep), name="saver"
        )
        self._thread.start()

    def wait(self) -> None:
        """Until everything is written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(
        self,
        id_: str,
        step: int,
        tensors: dict[str, np.ndarray[Any, Any]],
        text: str,
        position: dict[str, Any],
        keep: list[str],
    ) -> None:
        directory = Path(self._spec.snapshots) / id_
        try:
            directory.mkdir(parents=True, exist_ok=True)
            save_file(tensors, directory / "state.safetensors")
            (directory / "session.json").write_text(text)
        except Exception as error:
            log.error("the snapshot of step %d cannot be written to %s: %s", step, directory, error)
            shutil.rmtree(directory, ignore_errors=True)
            self._control.send("notSaved")
            return
        self._control.send("saved", directory=str(directory), step=step, position=position, keep=keep)
