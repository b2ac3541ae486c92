"""`spec.activeDeadlineSeconds`, over all that the job took but the time when it was suspended."""

from __future__ import annotations

from kerasjob_api.constants import Reason
from kerasjob_core.draft import Draft
from kerasjob_core.times import from_rfc3339, to_rfc3339


def is_exceeded(draft: Draft) -> bool:
    """Fails the job that has taken too long."""
    limit, since = draft.spec.active_deadline_seconds, draft.status.active_since
    if limit is None or since is None or not draft.is_over(since, limit - draft.status.active_seconds):
        return False
    draft.fail(Reason.DEADLINE, f"the job has not ended within {limit} s (spec.activeDeadlineSeconds)")
    return True


def start_the_clock(draft: Draft) -> None:
    """The job is active from now on."""
    draft.set(active_since=to_rfc3339(draft.now))


def stop_the_clock(draft: Draft) -> None:
    """The job is active no more."""
    since = draft.status.active_since
    if since is not None:
        seconds = max(0, round(draft.now - from_rfc3339(since)))
        draft.set(active_since=None, active_seconds=draft.status.active_seconds + seconds)
