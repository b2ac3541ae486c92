"""A spec that cannot be run: condition Invalid with all faults at once; nothing is created, nothing is lost.

A job that has begun goes on by what is left of its spec without them: it is looked after as before.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_core.conditions import is_finished, is_true, with_condition, with_phase
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Job, Observed
from kerasjob_core.plan import Event, Plan
from kerasjob_core.times import to_rfc3339


def keeps_it_from_beginning(observed: Observed) -> bool:
    """Whether nothing is to be made of the job: its spec has faults, and nothing was made of it before it had."""
    job = observed.job
    has_begun = observed.base_present or job.status.ring is not None or is_finished(job.status)
    return job.spec is None or (bool(job.faults) and not has_begun)


def refuse(observed: Observed, now: float) -> Plan:
    """Says what is wrong. A corrected spec is a new generation and is looked at afresh."""
    job = observed.job
    message = _faults(job)
    status = with_condition(
        job.status, ConditionType.INVALID, True, Reason.INVALID_SPEC, message, to_rfc3339(now), job.generation
    )
    status = with_phase(status, job.status, now).model_copy(update={"observed_generation": job.generation})
    if status == job.status:
        return Plan()
    return Plan(status=status, events=(Event("Warning", Reason.INVALID_SPEC, message),))


def report(draft: Draft) -> None:
    """Says what is wrong with the spec of a job that has begun, or why a server refuses its pods; takes it back."""
    rejection, job = draft.observed.rejection, draft.observed.job
    if job.faults:
        _say(draft, Reason.INVALID_SPEC, f"the job goes on without what is wrong in its spec: {_faults(job)}")
    elif rejection is not None and rejection.reason == Reason.REJECTED:
        _say(draft, Reason.REJECTED, rejection.message)
    elif is_true(draft.status, ConditionType.INVALID):
        draft.condition(ConditionType.INVALID, False, Reason.CREATED, "the spec is valid")


def _say(draft: Draft, reason: Reason, message: str) -> None:
    old = draft.status.condition(ConditionType.INVALID)
    if old is None or old.status != "True" or old.reason != reason:
        draft.event("Warning", reason, message)
    draft.condition(ConditionType.INVALID, True, reason, message)


def _faults(job: Job) -> str:
    return "; ".join(job.faults)
