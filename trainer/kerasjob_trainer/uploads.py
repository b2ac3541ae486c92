"""Uploads what the trainer has saved, in a thread of the agent: training goes on meanwhile. Called by the supervisor.

Every checkpoint is tried several times; one that the store will not take, and that no later one needs or replaces, is
given up and counted.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from kerasjob_api.constants import Reason, SavePhase
from kerasjob_api.wire import CheckpointRef, Problem
from kerasjob_trainer.checkpoints import Checkpoints, Superseded
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import Manifest, Saved
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.sharing import Helper
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError

# Training comes first, and the agent's answers.
NICE = 10
_WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0)
# Where the agent is about to end.
_LAST_WAIT_SECONDS = 1.0


class Uploads:
    """A queue of saved checkpoints and the thread that commits them."""

    def __init__(
        self,
        checkpoints: Callable[[], Checkpoints],
        status: Status,
        meters: Meters,
        superseded: Callable[[int], None],
        helpers: Callable[[], Sequence[Helper]] = tuple,
    ) -> None:
        """checkpoints: opens the store; called for each upload, for its keys may have been renewed. superseded: called
        with the revision of a ring that is over, and does not know it. helpers: the other workers of the ring."""
        self._helpers = helpers
        self._checkpoints, self._status, self._meters, self._superseded = checkpoints, status, meters, superseded
        self._queue: queue.SimpleQueue[Saved] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._pending = 0
        self._is_ending = False
        self._committed: WeakValueDictionary[str, Saved] = WeakValueDictionary()  # of those that are held
        threading.Thread(target=self._run, name="uploads", daemon=True).start()

    def add(self, saved: Saved) -> None:
        """Has a checkpoint uploaded, after those before it."""
        with self._idle:
            self._pending += 1
        self._queue.put(saved)

    def add_if_new(self, saved: Saved) -> None:
        """The same, unless this worker has committed it."""
        if saved.id not in self._committed:
            self.add(saved)

    def drain(self, timeout_seconds: float | None = None) -> bool:
        """Waits until all are uploaded or given up; False where that took too long."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout_seconds)

    def drain_before_end(self, timeout_seconds: float) -> bool:
        """As `drain`, for an agent that must end: no checkpoint comes after the last one, which is not given up."""
        with self._idle:
            self._is_ending = True
            self._idle.notify_all()
        return self.drain(timeout_seconds)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # of this thread and those that it starts
        saved: Saved | None
        while True:
            saved = self._queue.get()
            try:
                self._upload(saved)
            except Superseded as error:
                log.warning("the state of step %d is not committed: %s", saved.step, error)
                self._superseded(error.revision)
            except Exception:
                log.exception("a fault in the agent's uploads")
                self._meters.checkpoint_failed()
            finally:
                saved = None  # its memory goes, before the next one is waited for
                with self._idle:
                    self._pending -= 1
                    self._idle.notify_all()

    def _upload(self, saved: Saved) -> None:
        started = time.monotonic()
        for number in itertools.count():
            try:
                checkpoints = self._checkpoints()
                manifest = self._commit(saved, checkpoints)
                break
            except StoreError as error:
                words = str(error)  # the error itself refers to the state, whose memory it would keep
                self._status.set(problem=Problem(Reason.STORAGE_ERROR, f"checkpoint of step {saved.step}: {words}"))
                if number >= len(_WAITS_SECONDS) and self._may_give_up(saved):
                    log.error("the checkpoint of step %d is given up: %s", saved.step, words)
                    self._meters.checkpoint_failed()
                    return
                log.warning("the checkpoint of step %d is not saved yet: %s", saved.step, words)
                self._wait(_WAITS_SECONDS[min(number, len(_WAITS_SECONDS) - 1)])
        if manifest is None:
            self._meters.checkpoint_failed()
            return
        self._committed[saved.id] = saved
        self._status.clear_problem()
        num_bytes = sum(int(file["bytes"]) for file in manifest.files)
        self._meters.checkpoint_saved(time.monotonic() - started, num_bytes, time.time())
        self._status.set(checkpoint=CheckpointRef(checkpoints.uri(manifest.id), manifest.step, manifest.saved_at))
        log.info("checkpoint %s committed: %d bytes", manifest.id, num_bytes)
        try:
            checkpoints.thin_out(saved.revision)
        except StoreError as error:
            log.warning("old checkpoints are not deleted yet: %s", error)

    def _may_give_up(self, saved: Saved) -> bool:
        """Later checkpoints need the one at the end of a call; and after the last one before the agent ends there is
        none."""
        is_last = self._is_ending and self._pending == 1
        return not is_last and saved.position["phase"] != SavePhase.CALL_END

    def _wait(self, seconds: float) -> None:
        with self._idle:
            if not self._is_ending:
                self._idle.wait_for(lambda: self._is_ending, seconds)
                return
        time.sleep(min(seconds, _LAST_WAIT_SECONDS))

    def _commit(self, saved: Saved, checkpoints: Checkpoints) -> Manifest | None:
        """Once more where the ring ends meanwhile, and this worker is of the next one too. Raises Superseded where it
        is not, StoreError."""
        while True:
            revision = self._status.revision
            try:
                return checkpoints.commit(saved, revision, self._helpers())
            except Superseded:
                if self._status.revision == revision:
                    raise
