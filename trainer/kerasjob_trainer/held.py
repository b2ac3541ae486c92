"""What the trainer of this worker has told last: whole states, in memory, for the case that a trainer is lost.

Put here as the trainer says it (`hearing`), given to other workers over HTTP (`server`), looked through for the newest
when a ring is formed (`restore`).
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.manifests import FILES, Files, Saved

# Of states together: by far less than what a trainer may have any number of buffers for.
SMALL_BYTES = 16 * 1024**2


def files_of_trainer(state: int, directory: Path, released: Callable[[], None]) -> Files:
    """A state as an open file, and the other files in a directory. Once nobody refers to them any more, the file is
    closed, the directory deleted, and `released` called."""
    paths = {path.name: path for path in directory.iterdir()}
    files = Files({FILES[0]: Path(f"/proc/self/fd/{state}"), **paths})
    weakref.finalize(files, _release, state, directory, released).atexit = False
    return files


def _release(state: int, directory: Path, released: Callable[[], None]) -> None:
    os.close(state)
    shutil.rmtree(directory, ignore_errors=True)
    released()


class Shelf:
    """What is held now. May be asked from any thread.

    That is the newest state and what it needs of those at the ends of calls: the newest `num_ends`; more where all of
    them are small; and any that somebody else holds on to, since it is on its way to the store.
    """

    def __init__(self, num_ends: int) -> None:
        self._num_ends = num_ends
        self._changed = threading.Condition()
        self._held: list[Saved] = []  # the newest first
        self._known: weakref.WeakValueDictionary[str, Saved] = weakref.WeakValueDictionary()

    def put(self, saved: Saved) -> None:
        """Holds a state instead of those before it."""
        with self._changed:
            self._known[saved.id] = saved
            if self._held and saved.order < self._held[0].order:
                return  # a late word of an older ring's trainer
            ends = self._ends_for(saved)
            sizes = itertools.accumulate((_size(one) for one in ends), initial=_size(saved))
            num_small = sum(1 for size in sizes if size <= SMALL_BYTES) - 1
            self._held = [saved, *ends[: max(self._num_ends, num_small)]]
            self._changed.notify_all()

    def all(self) -> list[Saved]:
        """The newest first."""
        with self._changed:
            return [found for newest in self._held[:1] for found in (newest, *self._ends_for(newest))]

    def _ends_for(self, saved: Saved) -> list[Saved]:
        held = {one.id: one for one in self._held}
        known = [held.get(id_) or self._known.get(id_) for id_ in saved.keep]
        ends = [one for one in known if one is not None and _is_end(one)]
        return sorted(ends, key=lambda one: one.order, reverse=True)

    def file(self, id_: str, name: str) -> Path | None:
        """A file of a state."""
        for one in self.all():
            if one.id == id_:
                return one.files.paths.get(name)
        return None

    def wait_for(self, id_: str, seconds: float) -> Saved | None:
        """A state, once it is here; None where it does not come. Who holds on to it keeps it here."""

        def found() -> Saved | None:
            return next((one for one in self._held if one.id == id_), None)

        with self._changed:
            return self._changed.wait_for(found, seconds)


def _size(saved: Saved) -> int:
    return saved.files.paths[FILES[0]].stat().st_size


def _is_end(saved: Saved) -> bool:
    return SavePhase(saved.position["phase"]) is SavePhase.CALL_END
