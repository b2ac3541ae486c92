"""The ring: formed by the operator alone, written to status before it is used, then pushed to the agents.

While the operator is down training goes on; forming a new ring waits for it. See docs/contracts.md.
"""

from __future__ import annotations

from kerasjob_api.constants import TF_PORT_SPAN, ConditionType, Reason, WorkerState
from kerasjob_api.status import KerasJobStatus, RingMember, RingStatus, WorkerCounts
from kerasjob_api.wire import Member, Ring
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker
from kerasjob_core.plan import PushRing


def is_member(status: KerasJobStatus, slot: int, incarnation: int) -> bool:
    """Whether this incarnation of the slot is in the ring revision in force."""
    members = status.ring.members if status.ring is not None else ()
    return any((m.slot, m.incarnation) == (slot, incarnation) for m in members)


def rank_of(status: KerasJobStatus, worker: Worker) -> int | None:
    """The worker's rank in the ring revision in force; None where it is no member."""
    for rank, member in enumerate(status.ring.members if status.ring is not None else ()):
        if (member.slot, member.incarnation) == (worker.slot, worker.incarnation):
            return rank
    return None


def form(draft: Draft) -> None:
    """Grants the next revision once every slot has a worker that is ready."""
    ring = draft.status.ring
    if ring is not None and not ring.broken:
        return
    workers = [draft.observed.current(slot) for slot in range(draft.spec.workers)]
    ready = [w for w in workers if w is not None and _can_join(w)]
    if len(ready) < draft.spec.workers:
        return
    revision = 1 if ring is None else ring.revision + 1
    members = tuple(_member(worker, revision) for worker in ready)
    draft.set(ring=RingStatus(revision=revision, members=members))


def push(draft: Draft) -> None:
    """Gives the ring to every member that has not taken it."""
    ring = draft.status.ring
    if ring is None or ring.broken:
        return
    order = Ring(
        job=draft.observed.job.ref.uid,
        revision=ring.revision,
        members=tuple(Member(m.slot, m.incarnation, m.host, m.agent_port, m.port) for m in ring.members),
    )
    for member in ring.members:
        worker = draft.observed.current(member.slot)
        if worker is None or worker.phase is not PodPhase.RUNNING or worker.endpoint is None:
            continue
        if worker.report is None or worker.report.revision < ring.revision:
            draft.actions.append(PushRing(worker.name, worker.endpoint, order))


def report(draft: Draft) -> None:
    """Says how many workers there are, and whether the ring trains."""
    workers = [w for slot in range(draft.spec.workers) if (w := draft.observed.current(slot)) is not None]
    counts = WorkerCounts(
        desired=draft.spec.workers,
        ready=sum(w.ready and not w.deleting and not w.has_ended for w in workers),
        succeeded=sum(w.phase is PodPhase.SUCCEEDED for w in workers),
        failed=sum(w.phase is PodPhase.FAILED for w in workers),
    )
    display = draft.status.display.model_copy(update={"workers": f"{counts.ready}/{counts.desired}"})
    draft.set(workers=counts, display=display)
    ring = draft.status.ring
    if ring is None or ring.broken or is_true(draft.status, ConditionType.READY):
        return
    trains = [
        w
        for w in workers
        if w.report is not None
        and w.report.revision == ring.revision
        and w.report.state in (WorkerState.TRAINING, WorkerState.FINISHED)
    ]
    if len(trains) == len(ring.members):
        message = f"ring revision {ring.revision} trains with {len(ring.members)} workers"
        draft.condition(ConditionType.READY, True, Reason.RING_FORMED, message)
        draft.event("Normal", Reason.RING_FORMED, message)
        draft.set(waiting_since=None)


def _can_join(worker: Worker) -> bool:
    return worker.phase is PodPhase.RUNNING and worker.ready and not worker.deleting and worker.endpoint is not None


def _member(worker: Worker, revision: int) -> RingMember:
    assert worker.endpoint is not None
    return RingMember(
        slot=worker.slot,
        incarnation=worker.incarnation,
        host=worker.endpoint.host,
        agent_port=worker.endpoint.agent_port,
        port=worker.endpoint.tf_port_base + revision % TF_PORT_SPAN,
    )
