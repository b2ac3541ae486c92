"""`status.workers`: how many there are in each state.

Written with whatever else is written, and by itself only so often: the workers of a job get ready one by one, and each
write of a job with a thousand of them is large.
"""

from __future__ import annotations

from kerasjob_api.status import WorkerCounts
from kerasjob_core.draft import Draft
from kerasjob_core.observed import PodPhase
from kerasjob_core.times import to_rfc3339

INTERVAL_SECONDS = 5.0


def report(draft: Draft) -> None:
    """Counts the workers. The last of a pass, since it depends on what else there is to write."""
    workers, old = draft.workers, draft.status.workers
    new = WorkerCounts(
        desired=draft.spec.workers,
        ready=sum(w.ready and not w.deleting and not w.has_ended for w in workers),
        succeeded=sum(w.phase is PodPhase.SUCCEEDED for w in workers),
        failed=sum(w.phase is PodPhase.FAILED for w in workers),
        updated_at=old.updated_at,
    )
    if new == old:
        return
    if not draft.has_changed() and old.updated_at and not draft.is_over(old.updated_at, INTERVAL_SECONDS):
        return
    display = draft.status.display.model_copy(update={"workers": f"{new.ready}/{new.desired}"})
    draft.set(workers=new.model_copy(update={"updated_at": to_rfc3339(draft.now)}), display=display)
