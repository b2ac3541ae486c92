"""The one mutable thing of a pass: the plan in the making. Made and finished by `decide`, filled by policies."""

from __future__ import annotations

from typing import Any

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import FailureStatus, KerasJobStatus
from kerasjob_core.conditions import phase_of, with_condition
from kerasjob_core.observed import Observed, Worker
from kerasjob_core.plan import Action, Event, Plan
from kerasjob_core.settings import Settings
from kerasjob_core.times import to_rfc3339

# What later passes act on: written first, acted on in the next pass, so that an operator killed in between
# goes on right.
DURABLE = ("resolved", "ring", "slots", "restarts", "disruptions")


class Draft:
    """A plan in the making."""

    def __init__(self, observed: Observed, now: float, settings: Settings) -> None:
        assert observed.job.spec is not None
        self.observed = observed
        self.spec: KerasJobSpec = observed.job.spec
        self.now = now
        self.settings = settings
        self.before: KerasJobStatus = observed.job.status
        self.status: KerasJobStatus = observed.job.status
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.requeue_after: float | None = None

    @property
    def leader(self) -> Worker | None:
        """The first member of the ring in force, while it is there."""
        ring = self.status.ring
        if ring is None or not ring.members:
            return None
        first = ring.members[0]
        worker = self.observed.current(first.slot)
        return worker if worker is not None and worker.incarnation == first.incarnation else None

    def set(self, **changes: Any) -> None:
        """Changes fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def condition(self, type_: ConditionType, value: bool, reason: Reason, message: str) -> None:
        """Sets a condition."""
        self.status = with_condition(
            self.status, type_, value, reason, message, to_rfc3339(self.now), self.observed.job.generation
        )

    def event(self, type_: str, reason: Reason, message: str) -> None:
        """Tells the user."""
        self.events.append(Event(type_, reason, message))

    def look_again(self, seconds: float) -> None:
        """Asks for another pass after at most this many seconds."""
        seconds = max(seconds, 0.0)
        self.requeue_after = seconds if self.requeue_after is None else min(self.requeue_after, seconds)

    def fail(self, reason: Reason, message: str, failure: FailureStatus | None = None) -> None:
        """Ends the job badly."""
        self.condition(ConditionType.FAILED, True, reason, message)
        self.condition(ConditionType.READY, False, reason, "the job has failed")
        failure = failure or FailureStatus(reason=reason, message=message, time=to_rfc3339(self.now))
        self.set(last_failure=failure, completion_time=to_rfc3339(self.now))
        self.event("Warning", reason, message)

    def finish(self) -> Plan:
        """The plan. A pass that changes what later passes act on does nothing else."""
        self.set(observed_generation=self.observed.job.generation)
        self.set(phase=phase_of(self.status).value)
        changed = self.status != self.before
        durable = any(getattr(self.status, name) != getattr(self.before, name) for name in DURABLE)
        return Plan(
            status=self.status if changed else None,
            events=tuple(self.events) if changed else (),
            actions=() if durable else tuple(self.actions),
            requeue_after=0.0 if durable else self.requeue_after,
        )
