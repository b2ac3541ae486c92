"""Pods that are to go: those of a finished job, whose ended ones stay for their logs, and those that were replaced."""

from __future__ import annotations

from collections.abc import Iterable

from kerasjob_core.draft import Draft
from kerasjob_core.observed import Observed, Worker
from kerasjob_core.plan import DeleteWorker, Plan

# How long after its grace period a pod may still be there, before its node is taken for dead.
FORCE_SECONDS = 30.0


def after_end(observed: Observed, now: float) -> Plan:
    """Deletes what still runs. A finished job makes nothing."""
    actions, wait = _deletions(observed.workers, now)
    return Plan(actions=actions, requeue_after=wait)


def delete_replaced(draft: Draft) -> None:
    """Deletes pods of older incarnations. They are in no ring; what they hold is a node's memory and its GPUs."""
    replaced = [w for w in draft.observed.workers if w.incarnation < draft.status.incarnation_of(w.slot)]
    actions, wait = _deletions(replaced, draft.now)
    draft.actions.extend(actions)
    if wait is not None:
        draft.look_again(wait)


def _deletions(workers: Iterable[Worker], now: float) -> tuple[tuple[DeleteWorker, ...], float | None]:
    """What is to be deleted, by force where a node does not do it; and after how many seconds to look again."""
    actions, waits = [], []
    for worker in workers:
        if worker.has_ended:
            continue
        if not worker.deleting:
            actions.append(DeleteWorker(worker.name, worker.uid))
        elif worker.deletion_due is not None:
            left = worker.deletion_due + FORCE_SECONDS - now
            if left > 0:
                waits.append(left)
            else:
                actions.append(DeleteWorker(worker.name, worker.uid, force=True))
    return tuple(actions), min(waits, default=None)
