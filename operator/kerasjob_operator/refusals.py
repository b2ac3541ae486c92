"""What the API server and kubelets say of what cannot be made or started, and what in it is news. Used by the store."""

from __future__ import annotations

import re

from kerasjob_api import names
from kerasjob_core.observed import JobRef, Waiting

FAILED_MOUNT = "FailedMount"  # the kubelet's reason


def is_of_mounts(waiting: Waiting | None) -> bool:
    """Whether it was heard of by events: of this the pod itself says nothing."""
    return waiting is not None and waiting.reason == FAILED_MOUNT


def names_ours(message: str, ref: JobRef) -> bool:
    """Whether it is about what a job's pods mount of ours, as the kubelet quotes it."""
    ours = names.plan_name(ref.name), names.secret_name(ref.name, ref.uid)
    return any(f'"{name}"' in message for name in ours)


def say_the_same(one: Waiting | None, other: Waiting | None) -> bool:
    """Words that differ in numbers only (counts, times, ids of requests) say nothing new."""
    return _without_numbers(one) == _without_numbers(other)


def _without_numbers(waiting: Waiting | None) -> tuple[str, str] | None:
    if waiting is None:
        return None
    return waiting.reason, re.sub(r"\b[0-9a-f-]{16,}\b|[0-9]+", "0", waiting.message)
