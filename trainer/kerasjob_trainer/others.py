"""Whether the other workers of a ring move: one that waits for them makes no step, and has not stalled meanwhile.

They may be reading their data again, bringing a checkpoint, or waiting for the store. Used by the supervisor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from kerasjob_trainer.peers import Peer, PeerError
from kerasjob_trainer.run import Run

# In the time of a stall they are asked so often.
TIMES_ASKED = 4


class Others:
    """`post` has a function called on the main loop."""

    def __init__(self, token: str, stall_seconds: float, post: Callable[..., Any]) -> None:
        self._token, self._post = token, post
        self._every = stall_seconds / TIMES_ASKED
        self._asked_at = 0.0
        self._asking = False

    def tick(self, run: Run, now: float) -> None:
        """Asks them where this worker has not moved for some time."""
        due = now - max(run.last_move, self._asked_at) > self._every
        if due and run.watched and len(run.ring.members) > 1 and not self._asking:
            self._asking, self._asked_at = True, now
            threading.Thread(target=self._ask, args=(run,), name="others", daemon=True).start()

    def _ask(self, run: Run) -> None:
        """Until one has just moved: the leader first, for whom most wait."""
        for rank, member in enumerate(run.ring.members):
            if rank == run.rank:
                continue
            asked_at = time.monotonic()
            try:
                seconds = Peer(member, self._token).moved(run.ring.revision)
            except PeerError:
                continue
            self._post(run.touch, asked_at - seconds)
            if seconds < self._every:
                break
        self._asking = False
