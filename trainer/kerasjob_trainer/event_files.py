"""Keeps what the leader's program writes for TensorBoard in the store, as it is in its working directory.

Called by the supervisor. Files grow: one that has is stored again, as objects have no other way.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kerasjob_trainer.checkpoints import Superseded, claim
from kerasjob_trainer.log import log
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.store import StoreError, open_store

INTERVAL_SECONDS = 10.0
# Of the time at the most: large files are stored less often.
BUSY_RATIO = 0.1
# In every name that TensorFlow, PyTorch and others give such a file.
NAME_PART = "tfevents"


class EventFiles:
    """A mirror in the store of all event files. `leads`: the ring revision whose leader this worker is, since its files
    are those to be shown; None where it is none."""

    def __init__(self, settings: Settings, leads: Callable[[], int | None]) -> None:
        self._settings, self._leads = settings, leads
        self._stored: dict[str, int] | None = None  # sizes by key, as this worker knows them while it leads
        self._lock = threading.Lock()
        self._faulty = False
        if settings.config.events_uri is not None:
            threading.Thread(target=self._run, name="event files", daemon=True).start()

    def mirror(self, revision: int) -> None:
        """As a ring's leader, stores what has changed and deletes what is gone; nothing once a newer one has begun.
        What the store does not take is said once, and tried again."""
        if self._settings.config.events_uri is None:
            return
        with self._lock:
            try:
                self._mirror(self._settings.config.events_uri, revision)
            except (StoreError, OSError, Superseded) as error:
                if not self._faulty:
                    log.warning("event files are not stored for TensorBoard: %s", error)
                self._faulty = True
            else:
                self._faulty = False

    def _mirror(self, uri: str, revision: int) -> None:
        found = event_files(self._settings.program_dir)
        if not found and not self._stored:
            return
        config = self._settings.config
        store = open_store(uri, config.s3, self._settings.s3_dir)
        if self._stored is None:
            self._stored = {entry.key: entry.num_bytes for entry in store.entries("")}
        changed = [(key, path, size) for key, (path, size) in found.items() if self._stored.get(key) != size]
        # Those of a leader before this one: what they say is in this one's too.
        gone = [key for key in self._stored if key not in found]
        if changed or gone:
            claim(self._settings, revision)
        for key, path, size in changed:
            store.put_file(key, path)
            self._stored[key] = size
        if gone:
            store.delete(gone)
            for key in gone:
                del self._stored[key]

    def _run(self) -> None:
        wait = INTERVAL_SECONDS
        while True:
            time.sleep(wait)
            revision = self._leads()
            if revision is None:
                with self._lock:  # the last word of a run that has led may be on its way
                    self._stored = None  # another one may have stored since
                continue
            started = time.monotonic()
            self.mirror(revision)
            wait = max(INTERVAL_SECONDS, (time.monotonic() - started) / BUSY_RATIO)


def event_files(folder: Path) -> dict[str, tuple[Path, int]]:
    """All event files below a folder, with their sizes, by their path in it. Links to data are not followed."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            if NAME_PART in name:
                path = Path(root, name)
                found[str(path.relative_to(folder))] = path, path.stat().st_size
    return found
