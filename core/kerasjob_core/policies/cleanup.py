"""What is to go: pods of a job that has ended or is suspended, those that were replaced; at last the job itself.

`cleanPodPolicy` says which pods of an ended job stay (by default the ended ones, for their logs),
`ttlSecondsAfterFinished` when the job goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerasjob_api.constants import ConditionType
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Worker
from kerasjob_core.plan import DeleteJob, DeleteWorker

# How long after its grace period a pod may still be there, before its node is taken for dead.
FORCE_SECONDS = 30.0
# How long after the job's end pods may end by themselves that are about to.
OWN_END_SECONDS = 10.0
# The time of the end is kept in whole seconds, rounded down: so much later is never too early.
ROUNDING_SECONDS = 1.0


def after_end(draft: Draft) -> None:
    """Deletes what is not to stay. A finished job makes nothing."""
    if _is_to_go(draft):
        draft.actions.append(DeleteJob())
    elif not _ends_are_near(draft) and draft.spec.clean_pod_policy != "None":
        _delete(draft, draft.observed.workers, ended=draft.spec.clean_pod_policy == "All")


def _is_to_go(draft: Draft) -> bool:
    limit, ended = draft.spec.ttl_seconds_after_finished, draft.status.completion_time
    return limit is not None and ended is not None and draft.is_over(ended, ROUNDING_SECONDS + limit)


def _ends_are_near(draft: Draft) -> bool:
    """Some ends are a moment away, and better than being deleted: those of the other workers where the program has
    ended well, and of what runs beside a trainer that has ended."""
    ended, well = draft.status.completion_time, is_true(draft.status, ConditionType.COMPLETE)
    stay = [worker for worker in draft.observed.workers if not worker.deleting and not worker.has_left]
    if ended is None or not any(well or worker.lingers for worker in stay):
        return False
    return not draft.is_over(ended, OWN_END_SECONDS)


def delete_replaced(draft: Draft) -> None:
    """Deletes pods of older incarnations. They are in no ring; what they hold is a node's memory and its GPUs."""
    _delete(draft, [w for w in draft.observed.workers if w.incarnation < draft.incarnation_of(w.slot)])


def delete_all(draft: Draft) -> None:
    """Deletes all pods that have not ended as a whole."""
    _delete(draft, draft.observed.workers)


def _delete(draft: Draft, workers: Iterable[Worker], *, ended: bool = False) -> None:
    """Deletes pods, by force where a node does not do it."""
    for worker in workers:
        if worker.has_left and not ended:
            continue
        if not worker.deleting:
            draft.actions.append(DeleteWorker(worker.name, worker.uid))
        elif worker.deletion_due is not None and not worker.has_left:
            left = worker.deletion_due + FORCE_SECONDS - draft.now
            if left > 0:
                draft.look_again(left)
            else:
                draft.actions.append(DeleteWorker(worker.name, worker.uid, force=True))
