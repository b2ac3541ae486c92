"""Which checkpoint a ring goes on from, and bringing it here. Called by the supervisor in a thread, before the fork.

The leader's agent decides, since all workers must restore the same one; the others ask it. See docs/contracts.md.
"""

from __future__ import annotations

import http.client
import json
import shutil
import threading

from kerasjob_api.constants import Reason
from kerasjob_api.wire import Member, Problem, Ring
from kerasjob_trainer.checkpoints import open_checkpoints
from kerasjob_trainer.log import log
from kerasjob_trainer.run import Run
from kerasjob_trainer.runspec import restored_dir
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError

_ASK_AGAIN_SECONDS = 0.2
_TRY_AGAIN_SECONDS = 2.0


class Cancelled(Exception):
    """The ring is no longer wanted."""


def prepare(run: Run, settings: Settings, status: Status) -> str | None:
    """The id of the checkpoint to go on from, brought to `restored_dir`; None for a start from the beginning.

    Tries until it works. Raises Cancelled.
    """
    shutil.rmtree(settings.restored, ignore_errors=True)
    target = restored_dir(settings, run.ring.revision)
    decided = None if run.rank == 0 else _ask_leader(run.ring, settings.token, run.cancelled)
    if run.rank != 0 and decided is None:
        return None
    failed = False
    while True:
        try:
            if decided is not None:
                manifest = open_checkpoints(settings).fetch(decided, target)
            else:
                newest = open_checkpoints(settings).newest_whole(target)
                if newest is None:
                    return None
                manifest = newest
            if failed:
                status.clear_problem()
            log.info("goes on from checkpoint %s (step %d)", manifest.id, manifest.step)
            return manifest.id
        except StoreError as error:
            failed = True
            log.warning("cannot restore yet: %s", error)
            status.set(problem=Problem(Reason.STORAGE_ERROR, f"cannot restore: {error}"))
            _wait(run.cancelled, _TRY_AGAIN_SECONDS)


def _ask_leader(ring: Ring, token: str, cancelled: threading.Event) -> str | None:
    leader, said = ring.members[0], ""
    while True:
        try:
            return _ask(leader, ring.revision, token)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if str(error) != said:
                said = str(error)
                log.info("asks the leader's agent for the restore point: %s", error)
        _wait(cancelled, _ASK_AGAIN_SECONDS)


def _ask(leader: Member, revision: int, token: str) -> str | None:
    connection = http.client.HTTPConnection(leader.host, leader.agent_port, timeout=5)
    try:
        connection.request("GET", f"/v1/restore?revision={revision}", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read(4096)
        if response.status != 200:
            raise ValueError(body[:200].decode(errors="replace"))
        checkpoint = json.loads(body)["checkpoint"]
        return str(checkpoint) if checkpoint is not None else None
    finally:
        connection.close()


def _wait(cancelled: threading.Event, seconds: float) -> None:
    if cancelled.wait(seconds):
        raise Cancelled
