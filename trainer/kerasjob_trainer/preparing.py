"""What comes before a trainer is forked for a ring: what the last one left is cleared, what it goes on from is brought.

Called by the supervisor, in a thread; `held`, `restore_point` and `send_share` from the server's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from kerasjob_trainer import outputs, restore, sharing
from kerasjob_trainer.checkpoints import open_checkpoints
from kerasjob_trainer.held import Shelf
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import Saved
from kerasjob_trainer.restore import RestorePoint
from kerasjob_trainer.run import Run
from kerasjob_trainer.runspec import restored_dir
from kerasjob_trainer.server import Refused
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.sharing import Sent, Share
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import PartStore, StoreError
from kerasjob_trainer.uploads import Uploads

# Without a store all states at the ends of calls are held that a later one needs; a bounded number.
_ALL_ENDS = 1000
# How long a ring that has what is held to go on from waits for what goes to the store.
UPLOAD_SECONDS = 2.0
# Workers save at the same step, and not at the same moment.
HOLD_SECONDS = 3.0


class Preparing:
    """Of one agent, for each ring anew."""

    def __init__(self, settings: Settings, status: Status, uploads: Uploads) -> None:
        self._settings, self._status, self._uploads = settings, status, uploads
        self._num_brought = 0  # bytes of what is being brought, when it was last looked at
        self._restore_points: dict[int, RestorePoint] = {}
        self.shelf = Shelf(_ALL_ENDS if settings.config.checkpoint is None else 1)

    def run(self, run: Run) -> RestorePoint:
        """Answers what the ring goes on from. Raises restore.Cancelled, OSError, ValueError."""
        self._clear()
        point = restore.prepare(run, self._settings, self._status, self.shelf)
        folder = restored_dir(self._settings, run.ring.revision)
        checkpoint = folder / point.checkpoint if point.checkpoint is not None else None
        outputs.put_back(self._settings.program_dir, self._settings.staged, checkpoint)
        if point.rank == run.rank:
            self.store_held()
        self._restore_points[run.ring.revision] = point
        return point

    def store_held(self) -> None:
        """Has what is held uploaded, where it is not: what a worker tells after a loss is for the others at first."""
        if self._settings.config.checkpoint is not None:
            for saved in reversed(self.shelf.all()):
                self._uploads.add_if_new(saved)

    def look(self, run: Run) -> None:
        """What comes of a checkpoint is life, however long all of it takes. From the main loop."""
        num_bytes = _num_bytes(restored_dir(self._settings, run.ring.revision))
        if num_bytes != self._num_brought:
            self._num_brought = num_bytes
            run.touch()

    def _clear(self) -> None:
        settings = self._settings
        self._uploads.drain(UPLOAD_SECONDS if self.shelf.all() else None)
        shutil.rmtree(settings.temporary, ignore_errors=True)
        shutil.rmtree(settings.archives, ignore_errors=True)

    def held(self, revision: int, run: Run | None) -> list[Saved]:
        """What the trainer before a ring has left; `run`: the one in progress. Raises Refused."""
        if self._status.revision > revision:
            raise Refused(409, f"ring revision {revision} is over")
        if run is None or run.ring.revision != revision or run.cancelled.is_set():
            raise Refused(503, f"the trainer before ring revision {revision} has not ended yet")
        return self.shelf.all()

    def send_share(self, id_: str, name: str, share: Share) -> Sent:
        """Sends a share of a state that is held to the store. Raises Refused."""
        saved = self.shelf.wait_for(id_, HOLD_SECONDS) if self._settings.config.checkpoint is not None else None
        if saved is None or name not in saved.files.paths:
            raise Refused(404, f"{id_}/{name} is not held here")
        try:
            store = open_checkpoints(self._settings).store
            if not isinstance(store, PartStore):
                raise Refused(404, "the store knows no parts")
            sent = sharing.send(store, saved.files.paths[name], share)
        except (StoreError, OSError) as error:
            raise Refused(503, str(error)) from error
        log.info("a share of %d bytes of a checkpoint is sent", share.num_bytes)
        return sent

    def restore_point(self, revision: int) -> RestorePoint:
        """What a ring goes on from. Raises Refused."""
        if revision in self._restore_points:
            return self._restore_points[revision]
        if self._status.revision > revision:
            raise Refused(409, f"ring revision {revision} is over")
        raise Refused(503, f"the restore point of ring revision {revision} is not decided yet")


def _num_bytes(folder: Path) -> int:
    """On the disk: of a file that is written in parts, in any order, what is written."""
    found = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it has just got another name
                found += Path(root, name).stat().st_blocks * 512
    return found
