"""A job has succeeded once its leader's program ended with 0, or a worker found the record that it did; with
`successPolicy: All`, once all members' have.

That record (`done.json` in the store) makes the result independent of having watched: a worker created again by mistake
finds it and ends with 0 at once.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.exit_codes import ExitCode
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker


def reached(draft: Draft) -> bool:
    """Marks the job complete where it is."""
    leader = draft.leader  # also while it is replaced, or the job is suspended: what it has done is done
    candidates = draft.workers if leader is None else [leader, *draft.workers]
    if not any(_says_done(draft, worker) for worker in candidates) or not _are_enough(draft):
        return False
    _complete(draft)
    return True


def _says_done(draft: Draft, worker: Worker) -> bool:
    # A member that is not the leader ends with 0 for itself; a stranger to the ring only by finding the record.
    return _is_done(worker) and draft.rank_of(worker.slot, worker.incarnation) in (0, None)


def _is_done(worker: Worker | None) -> bool:
    if worker is None or worker.phase is not PodPhase.SUCCEEDED or worker.exit is None:
        return False
    return worker.exit.code == ExitCode.DONE


def _are_enough(draft: Draft) -> bool:
    ring = draft.status.ring
    if draft.spec.success_policy == "Leader" or ring is None:
        return True
    return all(_is_done(draft.current(member.slot)) for member in ring.members if member.slot < draft.spec.workers)


def _complete(draft: Draft) -> None:
    draft.condition(ConditionType.COMPLETE, True, Reason.SUCCEEDED, "the program ended with 0")
    draft.condition(ConditionType.READY, False, Reason.SUCCEEDED, "the program has ended")
    draft.end()
    draft.event("Normal", Reason.SUCCEEDED, "the program ended with 0")
