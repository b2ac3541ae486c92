"""A job has succeeded once its leader's program ended with 0, or a worker found the record that it did.

That record (`done.json` in the store) makes the result independent of having watched: a worker created again by mistake
finds it and ends with 0 at once.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.exit_codes import ExitCode
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker
from kerasjob_core.policies.ring import rank_of
from kerasjob_core.times import to_rfc3339


def reached(draft: Draft) -> bool:
    """Marks the job complete where it is."""
    for slot in range(draft.spec.workers):
        worker = draft.observed.current(slot)
        if worker is not None and _says_done(draft, worker):
            _complete(draft)
            return True
    return False


def _says_done(draft: Draft, worker: Worker) -> bool:
    if worker.phase is not PodPhase.SUCCEEDED or worker.exit is None or worker.exit.code != ExitCode.DONE:
        return False
    # A member that is not the leader ends with 0 for itself; a stranger to the ring only by finding the record.
    return rank_of(draft.status, worker) in (0, None)


def _complete(draft: Draft) -> None:
    draft.condition(ConditionType.COMPLETE, True, Reason.SUCCEEDED, "the program ended with 0")
    draft.condition(ConditionType.READY, False, Reason.SUCCEEDED, "the program has ended")
    draft.set(completion_time=to_rfc3339(draft.now), waiting_since=None)
    for trouble in (ConditionType.PROBLEM, ConditionType.CHECKPOINTS_LATE):
        if draft.status.condition(trouble) is not None:
            draft.condition(trouble, False, Reason.SUCCEEDED, "")
    draft.event("Normal", Reason.SUCCEEDED, "the program ended with 0")
