"""Which checkpoint a ring goes on from, and bringing it here. Called by the supervisor in a thread, before the fork.

The leader's agent decides, since all workers must restore the same one; the others ask it. The newest counts: what a
worker still holds of the step before a peer was lost, or what is in the store. See docs/contracts.md.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from kerasjob_api.constants import Reason
from kerasjob_api.wire import Problem
from kerasjob_trainer.checkpoints import Checkpoints, open_checkpoints
from kerasjob_trainer.held import Shelf
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import Saved, is_whole
from kerasjob_trainer.peers import Peer, PeerError
from kerasjob_trainer.run import Run
from kerasjob_trainer.runspec import restored_dir
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError

_ASK_AGAIN_SECONDS = 0.1
_TRY_AGAIN_SECONDS = 2.0

T = TypeVar("T")


class Cancelled(Exception):
    """The ring is no longer wanted."""


class RestorePoint(NamedTuple):
    """The id of a checkpoint; None for a start from the beginning. `rank`: of the worker that holds it, where it is not
    taken from the store."""

    checkpoint: str | None
    rank: int | None = None


def prepare(run: Run, settings: Settings, status: Status, shelf: Shelf) -> RestorePoint:
    """Brings what the ring goes on from to `restored_dir`. Tries until it works. Raises Cancelled."""
    return _Restoring(run, settings, status, shelf).run()


class _Restoring:
    """One worker's part."""

    def __init__(self, run: Run, settings: Settings, status: Status, shelf: Shelf) -> None:
        self._run, self._settings, self._status, self._shelf = run, settings, status, shelf
        self._revision = run.ring.revision
        self._target = restored_dir(settings, self._revision)
        self._peers = [Peer(member, settings.token) for member in run.ring.members]

    def run(self) -> RestorePoint:
        shutil.rmtree(self._settings.restored, ignore_errors=True)
        self._target.mkdir(parents=True)
        if self._run.rank == 0:
            point = self._decide()
        else:
            point = RestorePoint(*self._until_answered(lambda: self._peers[0].restore_point(self._revision)))
            self._until_stored(lambda: self._bring(point))
        if point.checkpoint is not None:
            where = "the store" if point.rank is None else f"what worker {self._slot(point.rank)} holds"
            log.info("goes on from checkpoint %s (of %s)", point.checkpoint, where)
        return point

    def _slot(self, rank: int) -> int:
        return self._run.ring.members[rank].slot

    def _decide(self) -> RestorePoint:
        """As the leader. What it decides is here then."""
        self._claim()
        held = [(one, rank) for rank in range(len(self._peers)) for one in self._held_by(rank)]
        held.sort(key=lambda found: found[0].order, reverse=True)
        for one, rank in held:
            if not self._is_newest(one):
                break
            try:
                self._bring_held(one.id, rank)
            except (PeerError, StoreError, OSError) as error:
                log.warning("what worker %d holds cannot be used: %s", self._slot(rank), error)
            else:
                return RestorePoint(one.id, rank)
        if self._settings.config.checkpoint is None:
            return RestorePoint(None)
        newest = self._until_stored(lambda: self._store().newest_whole(self._target))
        return RestorePoint(None if newest is None else newest.id)

    def _claim(self) -> None:
        """From here on no ring before this one commits anything. A store that does not answer is asked again when there
        is something to commit."""
        if self._settings.config.checkpoint is None:
            return
        try:
            self._store().claim(self._revision)
        except StoreError as error:
            log.warning("the store does not know yet that ring revision %d has begun: %s", self._revision, error)

    def _held_by(self, rank: int) -> list[Saved]:
        if rank == self._run.rank:
            return self._shelf.all()
        return self._until_answered(lambda: self._peers[rank].held(self._revision))

    def _is_newest(self, held: Saved) -> bool:
        """Whether the store has nothing newer. A store that does not answer is not waited for: to go on from something
        older costs steps, and changes no result."""
        if self._settings.config.checkpoint is None:
            return True
        try:
            newest = self._store().newest()
        except StoreError as error:
            log.warning("the store does not answer, so what workers hold is taken: %s", error)
            return True
        return newest is None or held.order >= newest.order

    def _bring(self, point: RestorePoint) -> None:
        """As the leader has decided."""
        if point.checkpoint is None:
            return
        if point.rank is None:
            self._store().fetch(point.checkpoint, self._target)
            return
        try:
            self._bring_held(point.checkpoint, point.rank)
        except (PeerError, OSError) as error:
            raise StoreError(f"worker {self._slot(point.rank)} holds the checkpoint: {error}") from error

    def _bring_held(self, id_: str, rank: int) -> None:
        """A snapshot and those that it needs: of the same worker, or from the store."""
        mine = {one.id: one for one in self._shelf.all()}
        theirs = {one.id: one for one in self._held_by(rank)}
        if id_ not in theirs:
            raise PeerError(f"it does not hold {id_} any more")
        for wanted in (id_, *theirs[id_].keep):
            if wanted in theirs:
                self._bring_files(theirs[wanted], mine.get(wanted), rank)
            else:
                self._store().fetch_needed(wanted, self._target)

    def _bring_files(self, held: Saved, mine: Saved | None, rank: int) -> None:
        directory = self._target / held.id
        directory.mkdir(exist_ok=True)
        for file in held.files.records():
            path = directory / str(file["name"])
            if mine is not None and file in mine.files.records():
                shutil.copyfile(mine.files.paths[path.name], path)
            else:
                self._peers[rank].fetch(held.id, path.name, path)
                if not is_whole(path, file):
                    raise PeerError(f"{held.id}/{path.name} is not what it holds (size or SHA-256 differ)")

    def _store(self) -> Checkpoints:
        if self._settings.config.checkpoint is None:
            raise StoreError("the job has no spec.checkpoint")
        return open_checkpoints(self._settings)

    def _until_answered(self, ask: Callable[[], T]) -> T:
        said = ""
        while True:
            try:
                return ask()
            except PeerError as error:
                if str(error) != said:
                    said = str(error)
                    log.info("asks other workers: %s", error)
            _wait(self._run.cancelled, _ASK_AGAIN_SECONDS)

    def _until_stored(self, ask: Callable[[], T]) -> T:
        failed = False
        while True:
            try:
                answer = ask()
            except StoreError as error:
                failed = True
                log.warning("cannot restore yet: %s", error)
                self._status.set(problem=Problem(Reason.STORAGE_ERROR, f"cannot restore: {error}"))
                _wait(self._run.cancelled, _TRY_AGAIN_SECONDS)
            else:
                if failed:
                    self._status.clear_problem()
                return answer


def _wait(cancelled: threading.Event, seconds: float) -> None:
    if cancelled.wait(seconds):
        raise Cancelled
