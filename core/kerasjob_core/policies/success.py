"""A job has succeeded once its leader's program ended with 0, or a worker found the record that it did; with
`successPolicy: All`, once all members' have.

That record (`done.json` in the store) makes the result independent of having watched: a worker created again by mistake
finds it and ends with 0 at once.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.status import ExportStatus
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase, Worker


def reached(draft: Draft) -> bool:
    """Marks the job complete where it is."""
    # The leader also while it is replaced, or the job is suspended: what it has done is done. A member that is not the
    # leader ends with 0 for itself, a stranger to the ring only by finding the record.
    strangers = [worker for worker in draft.workers if draft.rank_of(worker.slot, worker.incarnation) is None]
    done = [worker for worker in (draft.leader, _former_leader(draft), *strangers) if _is_done(worker)]
    _take_export(draft, done)
    if not (done or _leader_was_done(draft)) or not _are_enough(draft):
        return False
    _complete(draft)
    return True


def _leader_was_done(draft: Draft) -> bool:
    """Whether it was seen to be, and its pod may be gone since, while others are waited for."""
    ring = draft.status.ring
    return ring is not None and bool(ring.members) and draft.is_done(ring.members[0].slot)


def _former_leader(draft: Draft) -> Worker | None:
    """Of a ring whose trainers are to end after a step, which may be their program's last."""
    ring = draft.status.ring
    former = ring.former_leader if ring is not None else None
    if former is None or is_true(draft.status, ConditionType.READY):
        return None
    return draft.observed.worker(former.slot, former.incarnation)


def _is_done(worker: Worker | None) -> bool:
    if worker is None or worker.phase is not PodPhase.SUCCEEDED or worker.exit is None:
        return False
    return worker.exit.code == ExitCode.DONE


def _are_enough(draft: Draft) -> bool:
    """With `All` the members of a ring that trains. One that was lost after the leader was done, or came after, would
    only find the record of that."""
    ring = draft.status.ring
    if draft.spec.success_policy == "Leader" or ring is None or ring.broken or _former_leader(draft) is not None:
        return True
    return all(draft.is_done(member.slot) for member in ring.members if member.slot < draft.spec.workers)


def _take_export(draft: Draft, done: list[Worker | None]) -> None:
    for worker in done:
        record = worker.exit.record if worker is not None and worker.exit is not None else None
        if record is not None and record.export is not None:
            draft.set(export=ExportStatus(uri=record.export))


def _complete(draft: Draft) -> None:
    draft.condition(ConditionType.COMPLETE, True, Reason.SUCCEEDED, "the program ended with 0")
    draft.condition(ConditionType.READY, False, Reason.SUCCEEDED, "the program has ended")
    draft.end()
    draft.event("Normal", Reason.SUCCEEDED, "the program ended with 0")
