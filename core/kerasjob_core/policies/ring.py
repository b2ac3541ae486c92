"""The ring: formed by the operator alone, written to status before it is used, then pushed to the agents.

While the operator is down training goes on; forming a new ring waits for it. See docs/contracts.md.
"""

from __future__ import annotations

from kerasjob_api.constants import TF_PORT_BASE, TF_PORT_SPAN, ConditionType, Reason, WorkerState
from kerasjob_api.status import RingMember, RingStatus, SlotStatus
from kerasjob_api.wire import Member, Ring
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker
from kerasjob_core.plan import PushRing
from kerasjob_core.policies import backoff
from kerasjob_core.times import to_rfc3339

# How long trainers that have lost a peer may take to notice it and to tell what they hold.
SETTLE_SECONDS = 10.0


def form(draft: Draft) -> None:
    """Grants the next revision once every slot has a worker that is ready; fewer where `spec.elastic` allows it."""
    ready = [worker for worker in draft.workers if can_join(worker)]
    ring = draft.status.ring
    if ring is None or ring.broken:
        if not backoff.is_waiting(draft) and _are_enough(draft, ready) and (ring is None or _has_settled(draft)):
            grant(draft, ready)
    elif _should_grow(draft, ring, ready):
        message = f"from {len(ring.members)} to {len(ready)} workers, after a step that is saved"
        draft.condition(ConditionType.READY, False, Reason.RING_GROWS, message)
        draft.event("Normal", Reason.RING_GROWS, message)
        draft.set(waiting_since=to_rfc3339(draft.now))
        grant(draft, ready, after_step=True)


def _are_enough(draft: Draft, ready: list[Worker]) -> bool:
    """Whether a ring can begin; where some are missing, once they have been waited for."""
    spec, since = draft.spec, draft.status.waiting_since
    if len(ready) == spec.workers:
        return True
    if spec.elastic is None or len(ready) < spec.elastic.min_workers or since is None:
        return False
    return draft.is_over(since, spec.elastic.wait_seconds)


def _has_settled(draft: Draft) -> bool:
    """Whether all members of a broken ring are counted, and their trainers have ended: one that finds out by itself
    tells the step that it holds, one that is told to end does not."""
    members = [worker for worker in draft.workers if draft.rank_of(worker.slot, worker.incarnation) is not None]
    if any(worker.has_ended for worker in members):
        draft.look_again(0)
        return False
    if all(w.report is not None and w.report.state != WorkerState.TRAINING for w in members):
        return True
    since = draft.status.waiting_since
    return since is None or draft.is_over(since, SETTLE_SECONDS)


def _should_grow(draft: Draft, ring: RingStatus, ready: list[Worker]) -> bool:
    """Whether workers have come back to a ring that trains without them."""
    elastic, trains = draft.spec.elastic, draft.status.condition(ConditionType.READY)
    if elastic is None or trains is None or trains.status != "True" or len(ready) <= len(ring.members):
        return False
    if {(m.slot, m.incarnation) for m in ring.members} - {(w.slot, w.incarnation) for w in ready}:
        return False  # a member is being lost
    return len(ready) == draft.spec.workers or draft.is_over(trains.last_transition_time, elastic.wait_seconds)


def grant(draft: Draft, workers: list[Worker], *, after_step: bool = False) -> None:
    """Makes the next revision of the ring of these workers. `after_step`: the one before ends after a saved step."""
    old = draft.status.ring
    revision = 1 if old is None else old.revision + 1
    leader = (
        SlotStatus(slot=old.members[0].slot, incarnation=old.members[0].incarnation) if old and after_step else None
    )
    ring = RingStatus(
        revision=revision,
        port=TF_PORT_BASE + revision % TF_PORT_SPAN,
        after_step=after_step,
        former_leader=leader,
    )
    members = tuple(_member(worker, ring) for worker in workers)
    losses = draft.status.losses.model_copy(update={"replaced": None})
    draft.set(ring=ring.model_copy(update={"members": members}), losses=losses)


def push(draft: Draft) -> None:
    """Gives the ring to every member that has not taken it. One that does not answer gets it once it does."""
    ring = draft.status.ring
    if ring is None or ring.broken:
        return
    trains = is_true(draft.status, ConditionType.READY)
    order = Ring(
        job=draft.observed.job.ref.uid,
        revision=ring.revision,
        members=tuple(
            Member(m.slot, m.incarnation, m.host, m.agent_port or ring.agent_port, m.port or ring.port)
            for m in ring.members
        ),
        after_step=ring.after_step,
    )
    for member in ring.members:
        worker = draft.current(member.slot)
        if worker is None or worker.phase is not PodPhase.RUNNING or worker.endpoint is None:
            continue
        if worker.silent_since is not None:
            continue
        if worker.report is None and trains:
            continue  # an operator that has just begun has not heard of it yet; it had the ring when all trained
        if worker.report is None or worker.report.revision < ring.revision:
            draft.actions.append(PushRing(worker.name, worker.endpoint, order))


def report(draft: Draft) -> None:
    """Says whether the ring trains."""
    ring = draft.status.ring
    if ring is None or ring.broken or is_true(draft.status, ConditionType.READY):
        return
    trains = [
        w
        for m in ring.members
        if (w := draft.observed.worker(m.slot, m.incarnation)) is not None
        and w.report is not None
        and w.report.revision == ring.revision
        and w.report.state in (WorkerState.TRAINING, WorkerState.FINISHED)
    ]
    if len(trains) == len(ring.members):
        message = f"ring revision {ring.revision} trains with {len(ring.members)} workers"
        if len(ring.members) < draft.spec.workers:
            message = (
                f"ring revision {ring.revision} trains with {len(ring.members)} of {draft.spec.workers} workers;"
                " the others are taken in once they are there"
            )
        draft.condition(ConditionType.READY, True, Reason.RING_FORMED, message)
        draft.event("Normal", Reason.RING_FORMED, message)
        draft.set(waiting_since=None)


def can_join(worker: Worker) -> bool:
    """Whether a worker waits for a ring, or is in one."""
    is_up = worker.phase is PodPhase.RUNNING and worker.ready and not worker.deleting
    return is_up and worker.endpoint is not None and worker.silent_since is None


def _member(worker: Worker, ring: RingStatus) -> RingMember:
    """Ports only where they are not the ring's: a thousand members are many."""
    end = worker.endpoint
    assert end is not None
    port = end.tf_port_base + ring.revision % TF_PORT_SPAN
    return RingMember(
        slot=worker.slot,
        incarnation=worker.incarnation,
        host=end.host,
        agent_port=None if end.agent_port == ring.agent_port else end.agent_port,
        port=None if port == ring.port else port,
    )
