"""`failurePolicy.backoffSeconds`: losses in a row with no training step in between are waited out, longer each time.

The first one is never waited for: most are one pod's, and the ring stands still meanwhile.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType
from kerasjob_api.status import Losses
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.times import from_rfc3339, to_rfc3339

MAX_SECONDS = 300
# A ring that trained for so long has come on, even if nobody can tell any more how far.
TRAINED_SECONDS = 30.0


def count(draft: Draft) -> float:
    """Counts one more loss, before the condition Ready is taken back; the seconds to wait for it."""
    before, step = draft.status.losses, _step(draft)
    in_a_row = 1 if _has_come_on(draft, before, step) else before.in_a_row + 1
    seconds = _seconds(draft, in_a_row)
    retry_at = to_rfc3339(draft.now + seconds) if seconds else None
    draft.set(losses=Losses(in_a_row=in_a_row, step=max(step, before.step), retry_at=retry_at))
    return seconds


def is_waiting(draft: Draft) -> bool:
    """Whether the job waits before it goes on; looks again then."""
    retry_at = draft.status.losses.retry_at
    return retry_at is not None and not draft.is_over(retry_at, 0)


def _has_come_on(draft: Draft, before: Losses, step: int) -> bool:
    if before.in_a_row == 0 or step > before.step:
        return True
    ready = draft.status.condition(ConditionType.READY)
    trains = is_true(draft.status, ConditionType.READY)
    return ready is not None and trains and draft.now - from_rfc3339(ready.last_transition_time) >= TRAINED_SECONDS


def _step(draft: Draft) -> int:
    """How far training has come, as far as anybody has told."""
    leader, written = draft.leader, draft.status.progress
    said = leader.report.progress if leader is not None and leader.report is not None else None
    return max(written.total_step if written is not None else 0, said.total_step if said is not None else 0)


def _seconds(draft: Draft, in_a_row: int) -> float:
    first = draft.spec.failure_policy.backoff_seconds
    if in_a_row < 2:
        return 0
    return float(min(first << min(in_a_row - 2, 16), max(MAX_SECONDS, first)))
