"""What keeps workers from starting: reported at once, final only after `startupTimeoutSeconds`.

A secret or an image may come a second later with the same apply, so a problem is no failure yet.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.status import FailureStatus
from kerasjob_core.conditions import is_true
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


def report_problems(draft: Draft) -> None:
    """Sets condition Problem to the first thing that is wrong, in the words of whoever met it."""
    problem = _first_problem(draft)
    if problem is None:
        if is_true(draft.status, ConditionType.PROBLEM):
            draft.condition(ConditionType.PROBLEM, False, Reason.RESUMED, "the problem is gone")
        return
    reason, message, _ = problem
    old = draft.status.condition(ConditionType.PROBLEM)
    if old is not None and old.status == "True" and old.reason == reason:
        return  # its words may change with every try (back-off times, request ids): one write is enough
    draft.condition(ConditionType.PROBLEM, True, reason, message)
    draft.event("Warning", reason, message)


def took_too_long(draft: Draft) -> bool:
    """Fails a job that never got its workers together. Once it has trained it waits for ever."""
    status = draft.status
    if status.ring is not None or status.waiting_since is None:
        return False
    limit = draft.spec.startup_timeout_seconds
    if not draft.is_over(status.waiting_since, limit):
        return False
    problem = _first_problem(draft)
    what = problem[1] if problem is not None else "workers did not get ready"
    worker = problem[2] if problem is not None else None
    failure = FailureStatus(
        worker=worker.slot if worker is not None else None,
        pod=worker.name if worker is not None else "",
        node=worker.node if worker is not None else "",
        reason=problem[0] if problem is not None else Reason.STARTUP_TIMEOUT,
        message=what,
        time=to_rfc3339(draft.now),
    )
    draft.fail(Reason.STARTUP_TIMEOUT, f"not started within {limit} s (spec.startupTimeoutSeconds): {what}", failure)
    return True


def _first_problem(draft: Draft) -> tuple[Reason, str, Worker | None] | None:
    rejection = draft.observed.rejection
    if rejection is not None and rejection.reason != Reason.REJECTED:  # that one is condition Invalid's
        return Reason(rejection.reason), rejection.message, None
    for worker in draft.workers:
        if worker.ready or worker.has_ended:
            continue
        who = f"worker {worker.slot} ({worker.name}): "
        if worker.report is not None and worker.report.problem is not None:
            problem = worker.report.problem
            return _reason(problem.reason), who + problem.message, worker
        if worker.waiting is not None and worker.waiting.reason in KUBELET_REASONS:
            return (
                KUBELET_REASONS[worker.waiting.reason],
                f"{who}{worker.waiting.reason}: {worker.waiting.message}",
                worker,
            )
    return None


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        return Reason.STORAGE_ERROR
