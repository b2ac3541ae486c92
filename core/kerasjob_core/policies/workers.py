"""One pod per slot, under the slot's incarnation."""

from __future__ import annotations

from kerasjob_core.draft import Draft
from kerasjob_core.plan import CreateWorker, EnsureBase
from kerasjob_core.policies.ring import is_member


def create_missing(draft: Draft) -> None:
    """Makes what is not there: first what pods need, then the pods."""
    resolved = draft.status.resolved
    assert resolved is not None
    if not draft.observed.base_present:
        draft.actions.append(EnsureBase(resolved.image, resolved.seed))
    for slot in range(draft.spec.workers):
        incarnation = draft.status.incarnation_of(slot)
        # A member that is not seen was there: its loss is recovery's, not a pod that was never made.
        if draft.observed.current(slot) is None and not is_member(draft.status, slot, incarnation):
            draft.actions.append(CreateWorker(slot, incarnation))
