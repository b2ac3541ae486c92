"""Conditions by the Kubernetes conventions, and the phase that follows from them: the one place that says which."""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Phase, Reason
from kerasjob_api.status import Condition, KerasJobStatus
from kerasjob_core.times import from_rfc3339, to_rfc3339

# Faults of a spec can be many, and a server's words long: what one condition takes of the status, in characters.
MESSAGE_MAX = 4096


def with_condition(
    status: KerasJobStatus,
    type_: ConditionType,
    value: bool,
    reason: Reason,
    message: str,
    now: str,
    generation: int,
) -> KerasJobStatus:
    """The status with a condition set. The transition time moves only when the condition's status does."""
    old = status.condition(type_)
    text = "True" if value else "False"
    same = old is not None and old.status == text
    new = Condition(
        type=type_,
        status="True" if value else "False",
        reason=reason,
        message=message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 1] + "…",
        last_transition_time=old.last_transition_time if old is not None and same else now,
        observed_generation=generation,
    )
    if old is None:
        return status.model_copy(update={"conditions": (*status.conditions, new)})
    return status.model_copy(update={"conditions": tuple(new if c.type == type_ else c for c in status.conditions)})


def is_true(status: KerasJobStatus, type_: ConditionType) -> bool:
    """Whether the condition holds."""
    condition = status.condition(type_)
    return condition is not None and condition.status == "True"


def is_finished(status: KerasJobStatus) -> bool:
    """Whether the job has ended, well or badly. It never runs again."""
    return is_true(status, ConditionType.COMPLETE) or is_true(status, ConditionType.FAILED)


def has_trained(status: KerasJobStatus) -> bool:
    """Whether a ring of the job has ever trained."""
    return is_true(status, ConditionType.READY) or Phase.RUNNING.value in status.phase_seconds


def phase_of(status: KerasJobStatus) -> Phase:
    """The phase, derived."""
    if is_true(status, ConditionType.COMPLETE):
        return Phase.SUCCEEDED
    if is_true(status, ConditionType.FAILED):
        return Phase.FAILED
    if is_true(status, ConditionType.INVALID) and status.ring is None:
        return Phase.INVALID  # later it does not keep the job from what it does
    if is_true(status, ConditionType.SUSPENDED):
        return Phase.SUSPENDED
    if is_true(status, ConditionType.READY):
        return Phase.RUNNING
    if status.ring is None:
        return Phase.PENDING
    if status.ring.broken:
        return Phase.RESTARTING
    return Phase.STARTING


def with_phase(status: KerasJobStatus, before: KerasJobStatus, now: float) -> KerasJobStatus:
    """The status with its phase, and how long the job was in those before."""
    phase = phase_of(status).value
    if phase == before.phase:
        since, seconds = before.phase_since, before.phase_seconds
        return status.model_copy(update={"phase": phase, "phase_since": since, "phase_seconds": seconds})
    seconds = dict(before.phase_seconds)
    if before.phase_since is not None:
        elapsed = max(0, round(now - from_rfc3339(before.phase_since)))
        seconds[before.phase] = seconds.get(before.phase, 0) + elapsed
    return status.model_copy(update={"phase": phase, "phase_since": to_rfc3339(now), "phase_seconds": seconds})
