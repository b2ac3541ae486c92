"""What is to go: pods of a job that has ended or is suspended, those that were replaced; at last the job itself.

`cleanPodPolicy` says which pods of an ended job stay (by default the ended ones, for their logs),
`ttlSecondsAfterFinished` when the job goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerasjob_api.constants import ConditionType
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Observed, Worker
from kerasjob_core.plan import Action, DeleteJob, DeleteWorker, Plan, in_turn
from kerasjob_core.times import from_rfc3339

# How long after its grace period a pod may still be there, before its node is taken for dead.
FORCE_SECONDS = 30.0
# How long after the job's end pods may end by themselves that are about to.
OWN_END_SECONDS = 10.0
# The time of the end is kept in whole seconds, rounded down: so much later is never too early.
ROUNDING_SECONDS = 1.0


def after_end(observed: Observed, now: float) -> Plan:
    """Deletes what is not to stay. A finished job makes nothing."""
    job = observed.job
    status = job.status
    seen = status.model_copy(update={"observed_generation": job.generation})
    left = _seconds_left(observed, now)
    if left is not None and left <= 0:
        return Plan(actions=(DeleteJob(),))
    policy = "Running" if job.spec is None else job.spec.clean_pod_policy
    actions: tuple[Action, ...] = ()
    wait = _seconds_to_wait_for_ends(observed, now)
    if wait is None and policy != "None":
        actions, wait = _deletions(observed.workers, now, ended=policy == "All")
    waits = [seconds for seconds in (left, wait) if seconds is not None]
    actions, again = in_turn(actions, min(waits, default=None))
    return Plan(status=seen if seen != status else None, actions=actions, requeue_after=again)


def _seconds_to_wait_for_ends(observed: Observed, now: float) -> float | None:
    """Some ends are a moment away, and better than being deleted: those of the other workers where the program has
    ended well, and of what runs beside a trainer that has ended."""
    ended, well = observed.job.status.completion_time, is_true(observed.job.status, ConditionType.COMPLETE)
    stay = [worker for worker in observed.workers if not worker.deleting and not worker.has_left]
    if ended is None or not any(well or worker.lingers for worker in stay):
        return None
    left = from_rfc3339(ended) + OWN_END_SECONDS - now
    return left if left > 0 else None


def delete_replaced(draft: Draft) -> None:
    """Deletes pods of older incarnations. They are in no ring; what they hold is a node's memory and its GPUs."""
    _delete(draft, [w for w in draft.observed.workers if w.incarnation < draft.incarnation_of(w.slot)])


def delete_all(draft: Draft) -> None:
    """Deletes all pods that have not ended as a whole."""
    _delete(draft, draft.observed.workers)


def _delete(draft: Draft, workers: Iterable[Worker]) -> None:
    actions, wait = _deletions(workers, draft.now)
    draft.actions.extend(actions)
    if wait is not None:
        draft.look_again(wait)


def _seconds_left(observed: Observed, now: float) -> float | None:
    """Until the job is to be deleted; None where it stays."""
    spec, ended = observed.job.spec, observed.job.status.completion_time
    if spec is None or spec.ttl_seconds_after_finished is None or ended is None:
        return None
    return from_rfc3339(ended) + ROUNDING_SECONDS + spec.ttl_seconds_after_finished - now


def _deletions(
    workers: Iterable[Worker], now: float, *, ended: bool = False
) -> tuple[tuple[DeleteWorker, ...], float | None]:
    """What is to be deleted, by force where a node does not do it; and after how many seconds to look again."""
    actions, waits = [], []
    for worker in workers:
        if worker.has_left and not ended:
            continue
        if not worker.deleting:
            actions.append(DeleteWorker(worker.name, worker.uid))
        elif worker.deletion_due is not None and not worker.has_left:
            left = worker.deletion_due + FORCE_SECONDS - now
            if left > 0:
                waits.append(left)
            else:
                actions.append(DeleteWorker(worker.name, worker.uid, force=True))
    return tuple(actions), min(waits, default=None)
