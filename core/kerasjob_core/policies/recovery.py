"""A lost worker: counted once, replaced under a new incarnation (or its trainer forked again in place).

What the evidence says, and whose budget it uses:

| evidence | class |
|---|---|
| deletion time stamp, DisruptionTarget condition | disruption |
| confirmed absence without evidence | disruption |
| container ended by a signal, OOM, a cluster or store fault, "preempted" without evidence | restart |
| trainer ended by a signal or stalled, agent alive | restart, in place |
| an agent that cannot be reached, and the others have lost it | disruption |
| all trainers lost their peers and nobody is to blame | restart, in place |
| ended with 0, collected or not, while the ring trains | no loss |

A rule of `spec.failurePolicy.rules` that matches says otherwise. At most one is counted per ring revision, and per try
to come to one: when one worker goes, others follow because of it, or go for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerasjob_api.constants import ConditionType, Reason, WorkerState
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.names import pod_name
from kerasjob_api.status import FailureStatus, RingStatus
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker
from kerasjob_core.plan import ConfirmAbsent
from kerasjob_core.policies import backoff, failure, rules
from kerasjob_core.policies.failure import describe
from kerasjob_core.times import to_rfc3339

# How long an agent that the others have lost may not answer us either, before it is given up.
SILENT_SECONDS = 10.0


@dataclass(frozen=True)
class Loss:
    """One worker that is no longer what the ring counts on."""

    slot: int
    failure: FailureStatus
    is_disruption: bool
    replace: bool  # the pod is gone; False: only its trainer
    was_member: bool


def count_losses(draft: Draft) -> bool:
    """Counts what was lost since the last pass and gives each lost slot its next incarnation. Whether that ended the
    job, by a rule of the user's."""
    losses = [loss for slot in draft.slots if (loss := _loss_of(draft, slot)) is not None]
    if not any(loss.replace for loss in losses):
        losses += _trainers_lost(draft)
    if not losses:
        return False
    ring = draft.status.ring
    is_whole = ring is not None and not ring.broken
    # What is lost of a ring that is broken already followed a loss that was counted; so did all but one of one that is
    # whole. Those that were in no ring were lost for themselves.
    members = [loss for loss in losses if loss.was_member and is_whole][:1]
    newcomers = [loss for loss in losses if not loss.was_member]
    if any(failure.ends_by_rule(draft, loss.failure) for loss in (*members, *newcomers)):
        return True
    counted = next(iter([*members, *(loss for loss in newcomers if _is_another_try(draft, loss))]), None)
    replaced = {loss.slot for loss in losses if loss.replace}
    draft.replace(replaced)
    if counted is not None:
        _count(draft, counted)
        _back_off(draft)
    _note_replaced(draft, replaced, afresh=counted is not None)
    if ring is not None and members:
        _break(draft, ring)
    return False


def _is_another_try(draft: Draft, newcomer: Loss) -> bool:
    """Whether a loss before there is a ring is one more: its pod was made after the last one that was counted. Pods
    that were made together, and are lost one by one, as on a bad node, are one try."""
    replaced = draft.status.losses.replaced
    return replaced is None or newcomer.slot in replaced


def _note_replaced(draft: Draft, slots: set[int], *, afresh: bool) -> None:
    losses = draft.status.losses
    before = () if afresh else losses.replaced or ()
    draft.set(losses=losses.model_copy(update={"replaced": tuple(sorted({*before, *slots}))}))


def _back_off(draft: Draft) -> None:
    seconds = backoff.count(draft)
    if seconds:
        number = draft.status.losses.in_a_row
        draft.event("Warning", Reason.BACK_OFF, f"goes on in {seconds:.0f} s: {number} losses with no step in between")


def _loss_of(draft: Draft, slot: int) -> Loss | None:
    incarnation = draft.incarnation_of(slot)
    worker = draft.observed.worker(slot, incarnation)
    if worker is not None and not worker.has_ended and not worker.deleting:
        return None
    member = draft.rank_of(slot, incarnation) is not None
    if worker is None:
        return _vanished(draft, slot, incarnation) if member and not _was_done(draft, slot) else None
    if worker.phase is PodPhase.SUCCEEDED and not (member and _is_missed(draft, worker)):
        return None  # done for itself; the leader's word ends the job
    return Loss(
        slot,
        describe(worker, draft.now),
        bool(worker.deleting or worker.disruption),
        replace=True,
        was_member=member,
    )


def _was_done(draft: Draft, slot: int) -> bool:
    """Whether it has ended well in the ring that trains, and was collected since: no loss, as its end was none."""
    return is_true(draft.status, ConditionType.READY) and draft.is_done(slot)


def _is_missed(draft: Draft, worker: Worker) -> bool:
    """Whether the ring waits for a member that is done for itself: one that forms again, or that it never took."""
    ring = draft.status.ring
    if ring is None or ring.broken or is_true(draft.status, ConditionType.READY):
        return ring is not None and ring.broken
    if worker.report is not None and worker.report.revision == ring.revision:
        return False
    reports = [w.report for w in draft.workers if w.report is not None and w.report.revision == ring.revision]
    return any(report.state == WorkerState.FORMING for report in reports)


def _vanished(draft: Draft, slot: int, incarnation: int) -> Loss | None:
    name = pod_name(draft.observed.job.ref.name, slot, incarnation)
    if name not in draft.observed.confirmed_absent:
        draft.actions.append(ConfirmAbsent(name))
        return None
    failure = FailureStatus(
        worker=slot,
        pod=name,
        reason=Reason.WORKER_DISRUPTED,
        message="the pod is gone and left no trace",
        time=to_rfc3339(draft.now),
    )
    return Loss(slot, failure, is_disruption=True, replace=True, was_member=True)


def _trainers_lost(draft: Draft) -> list[Loss]:
    """Losses of trainers whose agents live on."""
    ring = draft.status.ring
    if ring is None or ring.broken:
        return []
    members = [w for m in ring.members if (w := draft.current(m.slot)) is not None]
    lost = [w for w in members if _trainer_is_lost(w, ring)]
    culprits = [w for w in lost if not _lost_its_peers(w)]
    # A member that is done for itself will say nothing more; that it left may be what the others met.
    silent = sum(draft.is_done(member.slot) for member in ring.members)
    if not culprits and len(lost) + silent < len(ring.members):
        return _cut_off(draft, lost, [w for w in members if w not in lost and w.phase is not PodPhase.SUCCEEDED])
    return [
        Loss(w.slot, _trainer_failure(w, draft.now), is_disruption=False, replace=False, was_member=True)
        for w in culprits or lost[:1]
    ]


def _cut_off(draft: Draft, lost: list[Worker], rest: list[Worker]) -> list[Loss]:
    """Where all others have lost their peers: those that cannot be reached by us either, as on a node whose network is
    cut or whose power is off. Otherwise who is to blame will show."""
    if not lost or not rest or any(w.silent_since is None for w in rest):
        return []
    left = max(w.silent_since for w in rest if w.silent_since is not None) + SILENT_SECONDS - draft.now
    if left > 0:
        draft.look_again(left)
        return []
    return [
        Loss(w.slot, _cut_off_failure(w, draft.now), is_disruption=True, replace=True, was_member=True) for w in rest
    ]


def _cut_off_failure(worker: Worker, now: float) -> FailureStatus:
    return FailureStatus(
        worker=worker.slot,
        pod=worker.name,
        node=worker.node,
        reason=Reason.WORKER_DISRUPTED,
        message=f"neither the operator nor the other workers reach it: node {worker.node} is cut off or down",
        time=to_rfc3339(now),
    )


def _trainer_is_lost(worker: Worker, ring: RingStatus) -> bool:
    report = worker.report
    return report is not None and report.revision == ring.revision and report.state == WorkerState.LOST


def _lost_its_peers(worker: Worker) -> bool:
    exit_ = worker.report.trainer_exit if worker.report is not None else None
    return exit_ is not None and exit_.signal is None and exit_.code == ExitCode.CLUSTER_FAULT


def _trainer_failure(worker: Worker, now: float) -> FailureStatus:
    exit_ = worker.report.trainer_exit if worker.report is not None else None
    reason, message, code = Reason.WORKER_LOST, "the trainer is gone", None
    if exit_ is not None and exit_.signal is not None:
        reason, message = Reason.TRAINER_KILLED, f"the trainer was killed by signal {exit_.signal}"
        code = 128 + exit_.signal
    elif exit_ is not None:
        reason = Reason.STALLED if exit_.code == ExitCode.STALLED else Reason.CLUSTER_FAULT
        message, code = exit_.message or f"the trainer ended with code {exit_.code}", exit_.code
    return FailureStatus(
        worker=worker.slot,
        pod=worker.name,
        node=worker.node,
        exit_code=code,
        signal=exit_.signal if exit_ is not None else None,
        reason=reason,
        message=message,
        time=to_rfc3339(now),
    )


def _count(draft: Draft, loss: Loss) -> None:
    action = rules.action_for(draft.spec.failure_policy, loss.failure)
    is_disruption = loss.is_disruption if action is None else action == "Ignore"
    key = "disruptions" if is_disruption else "restarts"
    draft.set(**{key: getattr(draft.status, key) + 1})
    draft.add_failure(loss.failure)
    draft.event(
        "Warning",
        Reason(loss.failure.reason),
        f"worker {loss.slot} ({loss.failure.pod}): {loss.failure.message}",
    )


def _break(draft: Draft, ring: RingStatus) -> None:
    draft.set(ring=ring.model_copy(update={"broken": True}), waiting_since=to_rfc3339(draft.now))
    draft.condition(ConditionType.READY, False, Reason.WORKER_LOST, "a worker was lost; the ring will form again")
