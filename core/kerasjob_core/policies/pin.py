"""What is settled once, at first sight: image, seed, the start time.

A later change of the operator's defaults does not touch a running job.
"""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.status import Resolved
from kerasjob_core.draft import Draft
from kerasjob_core.times import to_rfc3339


def at_first_sight(draft: Draft) -> None:
    """Pins the job's image and seed."""
    if draft.status.resolved is not None:
        return
    spec, observed = draft.spec, draft.observed
    seed = observed.seed if spec.seed is None else spec.seed
    now = to_rfc3339(draft.now)
    draft.set(resolved=Resolved(image=spec.image or observed.image, seed=seed), start_time=now, waiting_since=now)
    draft.condition(ConditionType.READY, False, Reason.WAITING_FOR_WORKERS, f"waiting for {spec.workers} workers")
    draft.event("Normal", Reason.CREATED, f"job accepted: {spec.workers} workers, seed {seed}")
