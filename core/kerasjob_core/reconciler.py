"""One pass over one job: observe, decide, apply. The same for every body."""

from __future__ import annotations

from kerasjob_core.cluster import Cluster, Unavailable
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
    """Carries a plan out: the status first, events only once it is written, then actions in order, deletions first."""
    if plan.status is not None:
        await cluster.write_status(job, plan.status)
        for event in plan.events:
            await cluster.emit(job.ref, event)
    unreachable: Unavailable | None = None
    for action in plan.actions:
        try:
            await _carry_out(cluster, job, action)
        except Unavailable as error:
            if not isinstance(action, PushRing):
                raise
            unreachable = error  # an agent that does not answer keeps the ring from nobody else
    if unreachable is not None:
        raise unreachable


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
        case PushRing():
            await cluster.push_ring(job, action)
