"""`spec.suspend`: a job without pods, which goes on where it was.

Its pods are told to stop and save in their grace period, as by a drain. None of that counts as a loss, since they
belong to the job no more. What a job that is made suspended begins with is pinned once it starts.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.policies import cleanup, deadlines
from kerasjob_core.times import to_rfc3339


def is_held(draft: Draft) -> bool:
    """Whether the job is to have no pods now; sees to it that it has none."""
    suspended = is_true(draft.status, ConditionType.SUSPENDED)
    if not draft.spec.suspend:
        if suspended:
            _resume(draft)
        return False
    if not suspended:
        _suspend(draft)
    cleanup.delete_all(draft)
    return True


def _suspend(draft: Draft) -> None:
    started = draft.status.resolved is not None
    message = "the job is suspended; its workers save and end" if started else "the job was made suspended"
    draft.condition(ConditionType.SUSPENDED, True, Reason.SUSPENDED, message)
    draft.condition(ConditionType.READY, False, Reason.SUSPENDED, message)
    draft.event("Normal", Reason.SUSPENDED, message)
    if not started:
        return
    draft.replace_all()
    deadlines.stop_the_clock(draft)
    losses = draft.status.losses.model_copy(update={"retry_at": None, "replaced": None})
    draft.set(waiting_since=None, losses=losses)
    if draft.status.ring is not None:
        draft.set(ring=draft.status.ring.model_copy(update={"broken": True}))
    if is_true(draft.status, ConditionType.PROBLEM):
        draft.condition(ConditionType.PROBLEM, False, Reason.SUSPENDED, "")


def _resume(draft: Draft) -> None:
    draft.condition(ConditionType.SUSPENDED, False, Reason.RESUMED, "the job is not suspended any more")
    draft.event("Normal", Reason.RESUMED, "the job is not suspended any more")
    if draft.status.resolved is not None:
        deadlines.start_the_clock(draft)
        draft.set(waiting_since=to_rfc3339(draft.now))
