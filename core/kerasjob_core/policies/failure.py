"""When a job fails for good: its program's own error, a rule of the user's, more losses than `failurePolicy` bears."""

from __future__ import annotations

from kerasjob_api.constants import Reason
from kerasjob_api.exit_codes import REASONS, ExitCode, is_permanent
from kerasjob_api.status import FailureStatus
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker
from kerasjob_core.policies import rules
from kerasjob_core.times import to_rfc3339


def is_final(draft: Draft) -> bool:
    """Fails the job where a worker's program ended by its own fault: another try would end the same way, unless a rule
    says that it is worth one."""
    for worker in draft.workers:
        if worker.phase is not PodPhase.FAILED or worker.exit is None:
            continue
        if worker.deleting or worker.disruption or not is_permanent(worker.exit.code):
            continue
        failure = describe(worker, draft.now)
        if rules.action_for(draft.spec.failure_policy, failure) in ("RestartJob", "Ignore"):
            continue
        draft.fail(Reason(failure.reason), f"worker {worker.slot}: {failure.message}", failure)
        return True
    return False


def ends_by_rule(draft: Draft, failure: FailureStatus) -> bool:
    """Fails the job where a rule says so."""
    found = rules.matching(draft.spec.failure_policy, failure)
    if found is None or found[1].action != "FailJob":
        return False
    words = f"worker {failure.worker}: {failure.message} (spec.failurePolicy.rules[{found[0]}]: FailJob)"
    draft.fail(Reason(failure.reason), words, failure)
    return True


def is_exhausted(draft: Draft) -> bool:
    """Fails the job whose workers were lost too often."""
    policy, status = draft.spec.failure_policy, draft.status
    last = status.last_failure
    what = f"; last failure: {last.reason}: {last.message}" if last is not None else ""
    if status.restarts > policy.max_restarts:
        words = f"restarted {status.restarts} times, spec.failurePolicy.maxRestarts is {policy.max_restarts}"
        draft.fail(Reason.MAX_RESTARTS, words + what, last)
        return True
    if policy.max_disruptions is not None and status.losses.in_a_row > policy.max_disruptions:
        words = (
            f"workers were lost {status.losses.in_a_row} times in a row with no step in between,"
            f" spec.failurePolicy.maxDisruptions is {policy.max_disruptions}"
        )
        draft.fail(Reason.MAX_DISRUPTIONS, words + what, last)
        return True
    return False


def describe(worker: Worker, now: float) -> FailureStatus:
    """The failure of a pod in the user's words: exception, file and line where the agent left them."""
    exit_ = worker.exit
    reason, message, code = Reason.WORKER_LOST.value, "the pod is gone", None
    if worker.disruption:
        reason, message = Reason.WORKER_DISRUPTED.value, f"the pod was disrupted: {worker.disruption}"
    elif worker.deleting:
        reason, message = Reason.WORKER_DISRUPTED.value, "the pod was deleted"
    if exit_ is not None:
        code = exit_.code
        if exit_.reason == "OOMKilled":
            reason, message = Reason.OOM.value, "the container was killed: out of memory (limit reached)"
        elif not worker.disruption and not worker.deleting:
            reason = REASONS.get(exit_.code, Reason.USER_ERROR if is_permanent(exit_.code) else Reason.WORKER_LOST)
            message = _words(worker)
    return FailureStatus(
        worker=worker.slot,
        pod=worker.name,
        node=worker.node,
        exit_code=code,
        signal=code - 128 if code is not None and 128 < code < 128 + 65 else None,
        reason=reason,
        message=message,
        time=to_rfc3339(now),
    )


def _words(worker: Worker) -> str:
    assert worker.exit is not None
    record, code = worker.exit.record, worker.exit.code
    if record is not None:
        where = f" ({record.file}:{record.line})" if record.file and record.line else ""
        kind = f"{record.exception_type}: " if record.exception_type else ""
        step = f" at step {record.step}" if record.step else ""
        return f"{kind}{record.message}{where}{step}"
    if worker.exit.message:
        return worker.exit.message[:1000]
    if code > 128:
        return f"the worker's process was killed by signal {code - 128}"
    if code == ExitCode.PREEMPTED:
        return "the worker ended as preempted, but nothing shows that its pod was"
    return f"the worker's process ended with code {code}"
