"""How the agent ends a trainer: asked to save and to end, told to, killed; and when it has taken too long.

Called by the supervisor on its main loop, at each tick too. What an end means is for `run.judge`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from kerasjob_api.exit_codes import ExitCode
from kerasjob_trainer.log import log
from kerasjob_trainer.processes import is_pending
from kerasjob_trainer.run import Run

# How long a trainer that is told to stop may take to come to a step boundary and write what it has.
STOP_SECONDS = 60.0
# How long one that has lost a peer may take to tell what it holds.
RESCUE_SECONDS = 60.0
# How long one that is told of the loss of a peer may take to begin with that: as long as a very long step.
NOTICE_SECONDS = 15.0
# Between the request to end and the end.
KILL_AFTER_SECONDS = 1.0
# For the stacks of a trainer that does not move to be written.
DUMP_SECONDS = 1.0


class EndingTrainers:
    """`kill` sends a process a signal."""

    def __init__(self, kill: Callable[[int, int], None], stall_seconds: float) -> None:
        self._kill, self._stall_seconds = kill, stall_seconds

    def after_step(self, run: Run) -> None:
        """Has it save at its next step boundary, and end."""
        run.stop_by = time.monotonic() + STOP_SECONDS
        if run.control is not None:
            run.control.stop()

    def soon(self, run: Run) -> None:
        """SIGTERM now, SIGKILL a little later; both once there is a process."""
        run.cancelled.set()
        if run.pid is not None and run.kill_at is None:
            self._kill(run.pid, signal.SIGTERM)
            run.kill_at = time.monotonic() + KILL_AFTER_SECONDS

    def blameless(self, run: Run, words: str) -> None:
        """At once, though it has done nothing wrong."""
        if run.ended_by_us is None:
            run.ended_by_us = ExitCode.CLUSTER_FAULT, words
            if run.pid is not None:
                self._kill(run.pid, signal.SIGKILL)

    def by_itself(self, run: Run) -> None:
        """Another worker is lost: it is to notice, and to tell what it holds."""
        run.notice_by = time.monotonic() + NOTICE_SECONDS
        if run.control is not None:
            run.control.say_peer_lost()

    def has_begun(self, run: Run) -> None:
        """There is a process now, which may have been given up meanwhile."""
        if run.pid is not None and run.ended_by_us is not None:
            self._kill(run.pid, signal.SIGKILL)
        elif run.cancelled.is_set():
            self.soon(run)

    def tick(self, run: Run, now: float) -> None:
        """Ends what has taken too long."""
        if run.stop_by is not None and now > run.stop_by:
            self.soon(run)
        if run.notice_by is not None and now > run.notice_by and not run.rescuing:
            self._stalled(run, now, f"it did not end within {NOTICE_SECONDS:.0f} s after another worker was lost")
        if run.watched and now - run.last_move > self._stall_seconds:
            self._stalled(run, now, f"no step for {self._stall_seconds:.0f} s (spec.stallTimeoutSeconds)")
        if run.rescuing and run.kill_at is not None:
            run.kill_at = max(run.kill_at, run.last_move + RESCUE_SECONDS)
        if run.kill_at is not None and now >= run.kill_at and run.pid is not None:
            run.kill_at = now + KILL_AFTER_SECONDS
            self._say_stacks(run, run.pid)
            self._kill(run.pid, signal.SIGKILL)

    def _stalled(self, run: Run, now: float, words: str) -> None:
        if run.ended_by_us is not None or run.kill_at is not None:
            return
        log.error("the trainer is ended: %s", words)
        run.ended_by_us = ExitCode.STALLED, words
        if run.pid is not None:
            self._kill(run.pid, signal.SIGUSR2)  # faulthandler writes the stacks
            self._kill(run.pid, signal.SIGCONT)  # of a process that was stopped too
            run.dumping, run.kill_at = True, now + DUMP_SECONDS

    def _say_stacks(self, run: Run, pid: int) -> None:
        """Where the stacks are that a trainer was told to write: one that is frozen, or waits in the kernel, cannot."""
        if not run.dumping or run.ended_by_us is None:
            return
        run.dumping = False
        code, words = run.ended_by_us
        has_none = is_pending(pid, signal.SIGUSR2)
        where = (
            "it takes no signals, so its stacks are not known"
            if has_none
            else "the stacks of the trainer are in its log"
        )
        run.ended_by_us = code, f"{words}; {where}"
