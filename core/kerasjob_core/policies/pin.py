"""What is settled once, at the start: image, seed, and what of the spec is read only then.

A later change of the operator's defaults does not touch a running job, nor does one of those fields of the spec: the
condition SpecChangeIgnored says so.
"""

from __future__ import annotations

import hashlib
import json

from kerasjob_api.constants import ConditionType, Label, Reason
from kerasjob_api.spec import PINNED, KerasJobSpec
from kerasjob_api.status import Resolved
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.policies import deadlines
from kerasjob_core.times import to_rfc3339


def at_the_start(draft: Draft) -> None:
    """Pins what the job is started with; later, tells what changed in vain."""
    if draft.status.resolved is None:
        _pin(draft)
    elif draft.status.observed_generation != draft.observed.job.generation:
        _compare(draft, draft.status.resolved)


def _pin(draft: Draft) -> None:
    spec, observed, ref = draft.spec, draft.observed, draft.observed.job.ref
    seed = observed.seed if spec.seed is None else spec.seed
    now = to_rfc3339(draft.now)
    draft.set(
        resolved=Resolved(image=spec.image or observed.image, seed=seed, digest=_digest(spec)),
        selector=f"{Label.JOB}={ref.name},{Label.JOB_UID}={ref.uid}",
        start_time=now,
        waiting_since=now,
    )
    deadlines.start_the_clock(draft)
    draft.condition(ConditionType.READY, False, Reason.WAITING_FOR_WORKERS, f"waiting for {spec.workers} workers")
    draft.event("Normal", Reason.CREATED, f"job accepted: {spec.workers} workers, seed {seed}")


def _compare(draft: Draft, resolved: Resolved) -> None:
    digest = _digest(draft.spec)
    if not draft.observed.base_present and draft.status.ring is None and not draft.observed.workers:
        draft.set(resolved=resolved.model_copy(update={"digest": digest}))  # nothing was made of it yet
        return
    was = is_true(draft.status, ConditionType.SPEC_CHANGE_IGNORED)
    if digest == resolved.digest:
        if was:
            message = "the spec is what the job was started with"
            draft.condition(ConditionType.SPEC_CHANGE_IGNORED, False, Reason.PINNED, message)
    elif not was:
        message = (
            "a change of the spec has no effect: fields that describe the pods are read once, when the job starts;"
            " for others create a new job"
        )
        draft.condition(ConditionType.SPEC_CHANGE_IGNORED, True, Reason.PINNED, message)
        draft.event("Warning", Reason.PINNED, message)


def _digest(spec: KerasJobSpec) -> str:
    # Without defaults, so that a field that a later version adds changes nothing.
    data = spec.model_dump(mode="json", include=set(PINNED), exclude_defaults=True)
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
