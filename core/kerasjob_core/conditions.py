"""Conditions by the Kubernetes conventions, and the phase that follows from them: the one place that says which."""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Phase, Reason
from kerasjob_api.status import Condition, KerasJobStatus

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


def phase_of(status: KerasJobStatus) -> Phase:
    """The phase, derived."""
    if is_true(status, ConditionType.COMPLETE):
        return Phase.SUCCEEDED
    if is_true(status, ConditionType.FAILED):
        return Phase.FAILED
    if is_true(status, ConditionType.INVALID):
        return Phase.INVALID
    if is_true(status, ConditionType.SUSPENDED):
        return Phase.SUSPENDED
    if is_true(status, ConditionType.READY):
        return Phase.RUNNING
    if status.ring is None:
        return Phase.PENDING
    if status.ring.broken:
        return Phase.RESTARTING
    return Phase.STARTING
