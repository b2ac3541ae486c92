"""What to do about one job: pure, from what is there and the time.

Read it top to bottom: each line is a sentence of the resource's life. Policies are in `policies/`, one file each.
"""

from __future__ import annotations

from kerasjob_core.conditions import is_finished
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Observed
from kerasjob_core.plan import Plan
from kerasjob_core.policies import (
    cleanup,
    counts,
    deadlines,
    elastic,
    failure,
    invalid,
    managed_by,
    pin,
    progress,
    recovery,
    ring,
    saving,
    startup,
    success,
    suspend,
    workers,
)
from kerasjob_core.settings import Settings

DEFAULT_SETTINGS = Settings()


def decide(observed: Observed, now: float, settings: Settings = DEFAULT_SETTINGS) -> Plan:
    """The plan of this pass. `now`: seconds since the epoch. No I/O, no clock, no randomness."""
    if observed.job.deleting or managed_by.somebody_else(observed):
        return Plan()
    if invalid.keeps_it_from_beginning(observed):
        return invalid.refuse(observed, now)

    draft = Draft(observed, now, settings)
    if is_finished(draft.status):
        cleanup.after_end(draft)
    else:
        _go_on(draft)
    counts.report(draft)
    return draft.finish()


def _go_on(draft: Draft) -> None:
    """The life of a job that has not ended. What ends or holds it is all that a pass does."""
    invalid.report(draft)
    progress.report(draft)
    saving.report_late(draft)
    if success.reached(draft) or failure.is_final(draft):
        return
    if suspend.is_held(draft):
        return
    pin.at_the_start(draft)
    if deadlines.is_exceeded(draft):
        return
    if recovery.count_losses(draft) or failure.is_exhausted(draft):
        return
    startup.report_problems(draft)
    if startup.took_too_long(draft):
        return
    elastic.retire(draft)
    ring.form(draft)
    workers.create_missing(draft)
    cleanup.delete_replaced(draft)
    ring.push(draft)
    ring.report(draft)
