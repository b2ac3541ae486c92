"""The one mutable thing of a pass: the plan in the making. Made and finished by `decide`, filled by policies."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import FailureStatus, KerasJobStatus, RingStatus, SlotStatus
from kerasjob_core.conditions import with_condition, with_phase
from kerasjob_core.observed import Observed, PodPhase, Worker
from kerasjob_core.plan import Action, Event, Plan, in_turn
from kerasjob_core.settings import Settings
from kerasjob_core.times import from_rfc3339, to_rfc3339

# What later passes act on: written first, acted on in the next pass, so that an operator killed in between
# goes on right.
DURABLE = ("resolved", "ring", "base_incarnation", "slots", "restarts", "disruptions", "losses")

# Of failures that are kept in the status.
FAILURES_MAX = 5
MESSAGE_MAX = 1024


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
        # What policies ask for each of a thousand slots, by lookup; made again where what it comes from changes.
        self._incarnations: dict[int, int] = {}
        self._incarnations_of: object = None
        self._ranks: dict[tuple[int, int], int] = {}
        self._ranks_of: RingStatus | None = None

    @property
    def leader(self) -> Worker | None:
        """The first member of the ring in force, while its pod is there."""
        ring = self.status.ring
        if ring is None or not ring.members:
            return None
        first = ring.members[0]
        return self.observed.worker(first.slot, first.incarnation)

    def incarnation_of(self, slot: int) -> int:
        """How often the slot's pod was replaced."""
        if self._incarnations_of is not self.status.slots:
            self._incarnations_of = self.status.slots
            self._incarnations = {entry.slot: entry.incarnation for entry in self.status.slots}
        return max(self.status.base_incarnation, self._incarnations.get(slot, 0))

    def rank_of(self, slot: int, incarnation: int) -> int | None:
        """The rank of this incarnation of the slot in the ring revision in force; None where it is no member."""
        ring = self.status.ring
        if self._ranks_of is not ring:
            self._ranks_of = ring
            members = ring.members if ring is not None else ()
            self._ranks = {(member.slot, member.incarnation): rank for rank, member in enumerate(members)}
        return self._ranks.get((slot, incarnation))

    def current(self, slot: int) -> Worker | None:
        """The pod of the slot's incarnation in force."""
        return self.observed.worker(slot, self.incarnation_of(slot))

    def is_done(self, slot: int) -> bool:
        """Whether the slot's program has ended with 0, also where its pod is gone since."""
        worker = self.current(slot)
        return slot in self.status.workers.done if worker is None else worker.phase is PodPhase.SUCCEEDED

    @property
    def slots(self) -> list[int]:
        """All that the job counts on: those of the spec, and those that its ring has not let go yet."""
        ring, number = self.status.ring, self.spec.workers
        return [*range(number), *sorted(m.slot for m in (ring.members if ring else ()) if m.slot >= number)]

    @property
    def workers(self) -> list[Worker]:
        """The pods in force of all slots, as far as they are there."""
        return [w for slot in range(self.spec.workers) if (w := self.current(slot)) is not None]

    def replace(self, slots: Collection[int]) -> None:
        """Gives slots their next incarnation: their pods belong to the job no more."""
        incarnations = {entry.slot: entry.incarnation for entry in self.status.slots}
        incarnations |= {slot: self.incarnation_of(slot) + 1 for slot in slots}
        self.set(slots=tuple(SlotStatus(slot=s, incarnation=n) for s, n in sorted(incarnations.items())))
        self._are_not_done(slots)

    def replace_all(self) -> None:
        """Gives every slot a next incarnation."""
        highest = max((entry.incarnation for entry in self.status.slots), default=0)
        self.set(base_incarnation=max(highest, self.status.base_incarnation) + 1, slots=())
        self._are_not_done(self.status.workers.done)

    def _are_not_done(self, slots: Collection[int]) -> None:
        """A slot that is replaced has it all before it, whatever its last pod did."""
        workers = self.status.workers
        self.set(workers=workers.model_copy(update={"done": tuple(s for s in workers.done if s not in slots)}))

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

    def is_over(self, since: str, seconds: float) -> bool:
        """Whether so much time has passed since; else looks again then."""
        left = from_rfc3339(since) + seconds - self.now
        if left > 0:
            self.look_again(left)
        return left <= 0

    def fail(self, reason: Reason, message: str, failure: FailureStatus | None = None) -> None:
        """Ends the job badly."""
        self.condition(ConditionType.FAILED, True, reason, message)
        self.condition(ConditionType.READY, False, reason, "the job has failed")
        failure = failure or FailureStatus(reason=reason, message=message, time=to_rfc3339(self.now))
        self.add_failure(failure)
        self.end()
        self.event("Warning", reason, message)

    def add_failure(self, failure: FailureStatus) -> None:
        """Keeps what happened for the user: the last few, cut to what a status can take."""
        failure = failure.model_copy(update={"message": failure.message[:MESSAGE_MAX]})
        if failure != self.status.last_failure:
            self.set(last_failure=failure, failures=(*self.status.failures, failure)[-FAILURES_MAX:])

    def end(self) -> None:
        """What holds of every end."""
        self.set(completion_time=to_rfc3339(self.now), waiting_since=None)
        for trouble in (ConditionType.PROBLEM, ConditionType.CHECKPOINTS_LATE):
            if self.status.condition(trouble) is not None:
                self.condition(trouble, False, Reason.JOB_ENDED, "")

    def has_changed(self) -> bool:
        """Whether there is anything to be written; settles first what follows from the rest of the status."""
        self.set(observed_generation=self.observed.job.generation)
        self.status = with_phase(self.status, self.before, self.now)
        return self.status != self.before

    def finish(self) -> Plan:
        """The plan. A pass that changes what later passes act on does nothing else."""
        changed = self.has_changed()
        durable = any(getattr(self.status, name) != getattr(self.before, name) for name in DURABLE)
        actions, again = ((), 0.0) if durable else in_turn(self.actions, self.requeue_after)
        return Plan(
            status=self.status if changed else None,
            events=tuple(self.events) if changed else (),
            actions=actions,
            requeue_after=again,
        )
