"""`spec.workers` made smaller in a job that is elastic: those above it leave after a step that is saved.

Their slots get a next incarnation, so that their pods belong to the job no more and are deleted as replaced ones are. A
ring that trains is granted again without them in the same pass. It grows, and goes on without lost ones, in `ring`.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.status import RingStatus
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
    leaving = {member.slot for member in ring.members if member.slot >= workers}
    _let_go(draft, surplus - leaving)
    if leaving and is_true(draft.status, ConditionType.READY):
        _shrink(draft, ring, leaving)


def _shrink(draft: Draft, ring: RingStatus, leaving: set[int]) -> None:
    ready = [worker for worker in draft.workers if rings.can_join(worker)]
    staying = {(m.slot, m.incarnation) for m in ring.members if m.slot not in leaving}
    least = draft.spec.elastic.min_workers if draft.spec.elastic is not None else draft.spec.workers
    if staying - {(w.slot, w.incarnation) for w in ready} or len(ready) < least:
        return  # one of them is being lost, whose loss is counted first; or those that are missing come first
    if not staying:
        # All that is known is with those that leave: the others are taken in first, and get it from them.
        former = [draft.observed.worker(member.slot, member.incarnation) for member in ring.members]
        ready += [worker for worker in former if worker is not None]
        leaving = set()
    message = f"from {len(ring.members)} to {len(ready)} workers, after a step that is saved"
    reason = Reason.RING_SHRINKS if leaving else Reason.RING_GROWS
    draft.condition(ConditionType.READY, False, reason, message)
    draft.event("Normal", reason, message)
    draft.set(waiting_since=to_rfc3339(draft.now))
    _let_go(draft, leaving)
    rings.grant(draft, ready, after_step=True)


def _let_go(draft: Draft, slots: set[int]) -> None:
    if slots:
        draft.replace(slots)
