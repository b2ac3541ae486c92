"""One pass over one job: observe, decide, apply. The same for every body."""

from __future__ import annotations

from kerasjob_core.cluster import Cluster
from kerasjob_core.decide import decide
from kerasjob_core.observed import Job
from kerasjob_core.plan import Action, ConfirmAbsent, CreateWorker, DeleteJob, DeleteWorker, EnsureBase, Plan, PushRing
from kerasjob_core.settings import Settings


async def reconcile(cluster: Cluster, namespace: str, name: str, now: float, settings: Settings) -> Plan | None:
    """Looks at a job and does what is to be done; None where there is no such job.

    Raises ClusterError: the pass is to be tried again, and nothing is lost by having stopped anywhere in it.
    """
    observed = cluster.observe(namespace, name)
    if observed is None:
        return None
    plan = decide(observed, now, settings)
    await apply(cluster, observed.job, plan)
    return plan


async def apply(cluster: Cluster, job: Job, plan: Plan) -> None:
    """Carries a plan out: the status first, events only once it is written, then actions in order, deletions
    first, and last the ring to all that it is for, at once: one that is cut off takes seconds."""
    if plan.status is not None:
        await cluster.write_status(job, plan.status)
        for event in plan.events:
            await cluster.emit(job.ref, event)
    for action in plan.actions:
        if not isinstance(action, PushRing):
            await _carry_out(cluster, job, action)
    pushes = [action for action in plan.actions if isinstance(action, PushRing)]
    if pushes:
        await cluster.push_rings(job, pushes)


async def _carry_out(cluster: Cluster, job: Job, action: Action) -> None:
    match action:
        case EnsureBase():
            await cluster.ensure_base(job, action)
        case CreateWorker():
            await cluster.create_worker(job, action)
        case DeleteWorker():
            await cluster.delete_worker(job, action)
        case DeleteJob():
            await cluster.delete_job(job, action)
        case ConfirmAbsent():
            await cluster.confirm_absent(job, action)
