"""What keeps workers from starting: reported at once, final only after `startupTimeoutSeconds`.

A secret or an image may come a second later with the same apply, so a problem is no failure yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.status import FailureStatus
from kerasjob_core.conditions import has_trained, is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Worker
from kerasjob_core.times import to_rfc3339

KUBELET_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG,
    "CreateContainerError": Reason.CONTAINER_CONFIG,
    "RunContainerError": Reason.CONTAINER_CONFIG,
    "FailedMount": Reason.CONTAINER_CONFIG,
    "Unschedulable": Reason.UNSCHEDULABLE,
}
# How long an agent that is ready may not answer us before that is a problem.
UNREACHABLE_SECONDS = 10.0


@dataclass(frozen=True)
class Trouble:
    """What keeps the job from training, in the words of whoever met it; the worker, where it is one's."""

    reason: Reason
    message: str
    worker: Worker | None = None


def report_problems(draft: Draft) -> None:
    """Sets condition Problem to the first thing that is wrong."""
    trouble, was = _first_trouble(draft), _shown(draft)
    if was == Reason.QUOTA and draft.status.waiting_since is not None and (trouble is None or trouble.reason != was):
        draft.set(waiting_since=to_rfc3339(draft.now))  # from now on workers can be had, and have their time to start
    if trouble is None:
        if was is not None:
            draft.condition(ConditionType.PROBLEM, False, Reason.RESUMED, "the problem is gone")
        return
    if trouble.reason == was:
        return  # its words may change with every try (back-off times, request ids): one write is enough
    draft.condition(ConditionType.PROBLEM, True, trouble.reason, trouble.message)
    draft.event("Warning", trouble.reason, trouble.message)


def took_too_long(draft: Draft) -> bool:
    """Fails a job that never came to train. Once it has trained it waits for ever, and for a quota as well."""
    since, limit = draft.status.waiting_since, draft.spec.startup_timeout_seconds
    if since is None or has_trained(draft.before) or _shown(draft) == Reason.QUOTA or not draft.is_over(since, limit):
        return False
    what = "workers did not get ready" if draft.status.ring is None else "workers are ready, but do not train together"
    trouble = _refusal(draft) or _first_trouble(draft) or Trouble(Reason.STARTUP_TIMEOUT, what)
    worker = trouble.worker
    failure = FailureStatus(
        worker=worker.slot if worker is not None else None,
        pod=worker.name if worker is not None else "",
        node=worker.node if worker is not None else "",
        reason=trouble.reason,
        message=trouble.message,
        time=to_rfc3339(draft.now),
    )
    words = f"not started within {limit} s (spec.startupTimeoutSeconds): {trouble.message}"
    draft.fail(Reason.STARTUP_TIMEOUT, words, failure)
    return True


def _shown(draft: Draft) -> str | None:
    """The reason of condition Problem, where there is one."""
    problem = draft.status.condition(ConditionType.PROBLEM)
    return problem.reason if problem is not None and problem.status == "True" else None


def _first_trouble(draft: Draft) -> Trouble | None:
    refusal = _refusal(draft)
    if refusal is not None and refusal.reason != Reason.REJECTED:  # that one is condition Invalid's
        return refusal
    for worker in draft.workers:
        if (trouble := _trouble_of(worker)) is not None:
            return trouble
    return _unreachable(draft)


def _refusal(draft: Draft) -> Trouble | None:
    """Why the server makes no pods. What it said of a quota stands until all are there: an operator that has just
    begun to lead has not asked yet."""
    rejection, problem = draft.observed.rejection, draft.status.condition(ConditionType.PROBLEM)
    if rejection is not None:
        return Trouble(Reason(rejection.reason), rejection.message)
    if problem is not None and _shown(draft) == Reason.QUOTA and len(draft.workers) < draft.spec.workers:
        return Trouble(Reason.QUOTA, problem.message)
    return None


def _trouble_of(worker: Worker) -> Trouble | None:
    """What keeps a worker from getting ready."""
    if worker.ready or worker.has_ended:
        return None
    who = f"worker {worker.slot} ({worker.name}): "
    if worker.report is not None and worker.report.problem is not None:
        problem = worker.report.problem
        return Trouble(_reason(problem.reason), who + problem.message, worker)
    waiting = worker.waiting
    if waiting is not None and waiting.reason in KUBELET_REASONS:
        return Trouble(KUBELET_REASONS[waiting.reason], f"{who}{waiting.reason}: {waiting.message}", worker)
    return None


def _unreachable(draft: Draft) -> Trouble | None:
    """Agents that are ready and do not answer us keep a ring from forming. One that trains goes on without us."""
    silent = [(w.silent_since, w) for w in draft.workers if w.ready and w.silent_since is not None]
    if is_true(draft.status, ConditionType.READY) or not silent:
        return None
    since, worker = min(silent, key=itemgetter(0))
    left = since + UNREACHABLE_SECONDS - draft.now
    if left > 0:
        draft.look_again(left)
        return None
    address = worker.endpoint.address if worker.endpoint is not None else "its address"
    message = (
        f"the operator cannot reach the agents of {len(silent)} of {draft.spec.workers} workers, that of worker"
        f" {worker.slot} ({worker.name}) at {address}: check NetworkPolicies, and the operator's egress"
    )
    return Trouble(Reason.UNREACHABLE, message, worker)


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        return Reason.STORAGE_ERROR
