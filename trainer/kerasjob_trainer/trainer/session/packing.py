"""The archive of the program's files at a snapshot; the same one as long as nothing changes. Used by the session."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras

from kerasjob_trainer import outputs
from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec

# A snapshot that is held, or being written, may have an archive that is not the newest.
_KEPT = 4


class Outputs:
    """Of one trainer."""

    def __init__(self, spec: RunSpec) -> None:
        self._program_dir, self._staged = Path(spec.program_dir), Path(spec.staged)
        self._archives = Path(spec.archives)
        self._numbers = itertools.count()
        self._known: dict[str, tuple[int, int]] = {}
        self._newest: Path | None = None

    def pack(self, callbacks: list[Any]) -> Path | None:
        """The archive as of now; None where the program has made nothing, or it cannot be told."""
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.TensorBoard):
                for writer in callback._writers.values():
                    writer.flush()
        try:
            files = outputs.made(self._program_dir, self._staged)
            stats = {name: path.stat() for name, path in files.items()}
            now = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
            if now != self._known:
                self._archives.mkdir(parents=True, exist_ok=True)
                number = next(self._numbers)
                archive = self._archives / f"{number}.tar"
                (self._archives / f"{number - _KEPT}.tar").unlink(missing_ok=True)
                packed = outputs.pack(self._program_dir, self._staged, archive)
                self._newest, self._known = archive if packed else None, now
        except OSError as error:  # a full disk, or a file that the program has just taken away
            log.warning("the program's files are not part of the checkpoint: %s", error)
            return None
        return self._newest
