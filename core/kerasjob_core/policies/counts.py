"""`status.workers`: how many there are in each state, and which are done.

Written with whatever else is written, and by itself only so often: the workers of a job get ready one by one, and each
write of a job with a thousand of them is large.
"""

from __future__ import annotations

from kerasjob_api.status import WorkerCounts
from kerasjob_core.conditions import is_finished
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase
from kerasjob_core.times import to_rfc3339

INTERVAL_SECONDS = 5.0


def report(draft: Draft) -> None:
    """Counts the workers. The last of a pass, since it depends on what else there is to write."""
    old = draft.status.workers
    new = _at_the_end(draft, old) if is_finished(draft.status) else _now(draft, old)
    if new == old:
        return
    if not draft.has_changed() and old.updated_at and not draft.is_over(old.updated_at, INTERVAL_SECONDS):
        return
    display = draft.status.display.model_copy(update={"workers": f"{new.ready}/{new.desired}"})
    draft.set(workers=new.model_copy(update={"updated_at": to_rfc3339(draft.now)}), display=display)


def _now(draft: Draft, old: WorkerCounts) -> WorkerCounts:
    workers = draft.workers
    return _counts(
        draft,
        old,
        ready=sum(w.ready and not w.deleting and not w.has_ended for w in workers),
        failed=sum(w.phase is PodPhase.FAILED for w in workers),
        # One whose pod was collected has ended well all the same.
        done={slot for slot in range(draft.spec.workers) if draft.is_done(slot)},
    )


def _at_the_end(draft: Draft, old: WorkerCounts) -> WorkerCounts:
    """Of a job that has ended no worker is ready. Who ends well after that is done as well; how others end then is the
    job's end's doing."""
    workers = sorted(draft.observed.workers, key=lambda w: w.incarnation)
    # Also of a slot that a smaller number of workers leaves out: the leader's word stands whoever it is.
    done = {*old.done, *(w.slot for w in workers if w.phase is PodPhase.SUCCEEDED)}
    newest = {w.slot: w for w in workers if w.slot < draft.spec.workers}  # replaced in this pass or not
    failed = sum(w.phase is PodPhase.FAILED and w.slot not in done for w in newest.values())
    return _counts(draft, old, ready=0, failed=old.failed if is_finished(draft.before) else failed, done=done)


def _counts(draft: Draft, old: WorkerCounts, *, ready: int, failed: int, done: set[int]) -> WorkerCounts:
    return WorkerCounts(
        desired=draft.spec.workers,
        ready=ready,
        succeeded=len(done),
        failed=failed,
        done=tuple(sorted(done)),
        updated_at=old.updated_at,
    )
