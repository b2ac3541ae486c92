"""What the agent is doing: its state machine and all that `GET /v1/status` says. Shared between threads.

staging -> ready -> forming -> training -> finished | failed | lost;  lost, training -> forming (a new ring)
"""

from __future__ import annotations

import threading
from typing import Any

from kerasjob_api.constants import WorkerState
from kerasjob_api.wire import CheckpointRef, Problem, Progress, WorkerReport

_S = WorkerState
_NEXT: dict[WorkerState, tuple[WorkerState, ...]] = {
    _S.STAGING: (_S.READY, _S.FINISHED, _S.FAILED),
    _S.READY: (_S.FORMING, _S.FINISHED, _S.FAILED),
    _S.FORMING: (_S.FORMING, _S.TRAINING, _S.LOST, _S.FINISHED, _S.FAILED),
    _S.TRAINING: (_S.FORMING, _S.LOST, _S.FINISHED, _S.FAILED),
    _S.LOST: (_S.FORMING, _S.FINISHED, _S.FAILED),
    _S.FINISHED: (),
    _S.FAILED: (),
}


class Status:
    """The worker report, kept up to date. Every method may be called from any thread."""

    def __init__(self, slot: int, incarnation: int) -> None:
        self._lock = threading.Lock()
        self._slot, self._incarnation = slot, incarnation
        self._state = WorkerState.STAGING
        self._fields: dict[str, Any] = {
            "revision": 0,
            "problem": None,
            "trainer_exit": None,
            "progress": None,
            "checkpoint": None,
        }

    @property
    def state(self) -> WorkerState:
        with self._lock:
            return self._state

    @property
    def revision(self) -> int:
        with self._lock:
            return int(self._fields["revision"])

    def move(self, state: WorkerState, **fields: Any) -> None:
        """Goes to another state and sets fields at the same time. A step that is not in the table is our own fault."""
        with self._lock:
            assert state in _NEXT[self._state], f"{self._state} -> {state}"
            assert fields.keys() <= self._fields.keys()
            self._state = state
            self._fields.update(fields)

    def set(
        self,
        *,
        problem: Problem | None = None,
        progress: Progress | None = None,
        checkpoint: CheckpointRef | None = None,
    ) -> None:
        """Sets those that are given."""
        with self._lock:
            given = {"problem": problem, "progress": progress, "checkpoint": checkpoint}
            self._fields.update({key: value for key, value in given.items() if value is not None})

    def clear_problem(self) -> None:
        """What was wrong is not any more."""
        with self._lock:
            self._fields["problem"] = None

    def report(self) -> WorkerReport:
        """The report as of now."""
        with self._lock:
            return WorkerReport(self._slot, self._incarnation, state=self._state.value, **self._fields)
