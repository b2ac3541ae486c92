"""One pod per slot, under the slot's incarnation."""

from __future__ import annotations

from kerasjob_core.draft import Draft
from kerasjob_core.plan import CreateWorker, EnsureBase
from kerasjob_core.policies import backoff


def create_missing(draft: Draft) -> None:
    """Makes what is not there: first what pods need, then the pods."""
    resolved = draft.status.resolved
    assert resolved is not None
    if backoff.is_waiting(draft):
        return
    # Made again where somebody deleted it; but not of a spec with faults, which may say other things of the pods.
    if not draft.observed.base_present and not draft.observed.job.faults:
        draft.actions.append(EnsureBase(resolved.image, resolved.seed))
    for slot in range(draft.spec.workers):
        incarnation = draft.incarnation_of(slot)
        # A member that is not seen was there: its loss is recovery's, not a pod that was never made.
        if draft.observed.worker(slot, incarnation) is None and draft.rank_of(slot, incarnation) is None:
            draft.actions.append(CreateWorker(slot, incarnation))
