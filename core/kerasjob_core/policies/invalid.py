"""A spec that cannot be run: condition Invalid with all faults at once; nothing is created, nothing is lost."""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Phase, Reason
from kerasjob_core.conditions import is_true, with_condition
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Observed
from kerasjob_core.plan import Event, Plan
from kerasjob_core.times import to_rfc3339


def refuse(observed: Observed, now: float) -> Plan:
    """Says what is wrong. A corrected spec is a new generation and is looked at afresh."""
    job = observed.job
    message = "; ".join(job.faults)
    status = with_condition(
        job.status, ConditionType.INVALID, True, Reason.INVALID_SPEC, message, to_rfc3339(now), job.generation
    )
    status = status.model_copy(update={"phase": Phase.INVALID.value, "observed_generation": job.generation})
    if status == job.status:
        return Plan()
    return Plan(status=status, events=(Event("Warning", Reason.INVALID_SPEC, message),))


def clear(draft: Draft) -> None:
    """The spec is right now, or a server that refused its pods no longer does."""
    rejection = draft.observed.rejection
    if rejection is not None and rejection.reason == Reason.REJECTED:
        if not is_true(draft.status, ConditionType.INVALID):
            draft.event("Warning", Reason.REJECTED, rejection.message)
        draft.condition(ConditionType.INVALID, True, Reason.REJECTED, rejection.message)
    elif is_true(draft.status, ConditionType.INVALID):
        draft.condition(ConditionType.INVALID, False, Reason.CREATED, "the spec is valid")
