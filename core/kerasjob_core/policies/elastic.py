"""`spec.workers` made smaller in a job that is elastic: those above it leave after a step that is saved.

Their slots get a next incarnation, so that their pods belong to the job no more and are deleted as replaced ones are. A
ring that trains is granted again without them in the same pass. It grows, and goes on without lost ones, in `ring`.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.policies import ring as rings
from kerasjob_core.times import to_rfc3339


def retire(draft: Draft) -> None:
    """Lets the workers go whose slots are not wanted any more."""
    workers, ring = draft.spec.workers, draft.status.ring
    present = {w.slot for w in draft.observed.workers if w.incarnation == draft.incarnation_of(w.slot)}
    surplus = {slot for slot in present if slot >= workers}
    if ring is None or ring.broken:
        _let_go(draft, surplus)
        return
    members = {member.slot for member in ring.members}
    leaving = {slot for slot in members if slot >= workers}
    _let_go(draft, surplus - leaving)
    if not leaving:
        return
    rest = [draft.observed.worker(member.slot, member.incarnation) for member in ring.members if member.slot < workers]
    staying = [worker for worker in rest if worker is not None and rings.can_join(worker)]
    if not staying or len(staying) < len(rest):
        return  # one of them is being lost: its loss is counted first
    message = f"from {len(ring.members)} to {len(staying)} workers, after a step that is saved"
    if is_true(draft.status, ConditionType.READY):
        draft.condition(ConditionType.READY, False, Reason.RING_SHRINKS, message)
    draft.event("Normal", Reason.RING_SHRINKS, message)
    draft.set(waiting_since=to_rfc3339(draft.now))
    _let_go(draft, leaving)
    rings.grant(draft, staying, after_step=True)


def _let_go(draft: Draft, slots: set[int]) -> None:
    if slots:
        draft.replace(slots)
