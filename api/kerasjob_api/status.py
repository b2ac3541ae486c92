"""`status` of a KerasJob, typed. Written by the operator alone, once per pass at the most."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """camelCase outside; frozen. Unknown fields are ignored: a newer operator may have written them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A condition by the Kubernetes API conventions (metav1.Condition)."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: str
    observed_generation: int = 0


class Resolved(StatusModel):
    """What was pinned at the first start: a later change of defaults does not touch a running job."""

    image: str
    seed: int


class WorkerCounts(StatusModel):
    """How many workers there are in each state."""

    desired: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0


class RingMember(StatusModel):
    """One member of the ring. Its rank is its index."""

    slot: int
    incarnation: int
    host: str
    agent_port: int
    port: int


class RingStatus(StatusModel):
    """The ring revision in force. Written before it is used."""

    revision: int
    members: tuple[RingMember, ...] = ()
    broken: bool = Field(default=False, description="A member was lost; its loss has been counted.")
    after_step: bool = Field(default=False, description="The ring before is whole; its trainers end after a step.")


class SlotStatus(StatusModel):
    """A slot whose pod was replaced at least once."""

    slot: int
    incarnation: int


class MetricValue(StatusModel):
    """A metric as text: NaN is no JSON number."""

    name: str
    value: str


class ProgressStatus(StatusModel):
    """Where training stands, as the leader says it."""

    call: int = 0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int | None = None
    total_step: int = 0
    percent: str | None = None
    eta_seconds: int | None = None
    samples_per_second: str | None = None
    metrics: tuple[MetricValue, ...] = ()
    updated_at: str = ""


class CheckpointStatus(StatusModel):
    """The newest committed checkpoint."""

    uri: str
    step: int
    saved_at: str


class FailureStatus(StatusModel):
    """The last failure: the user's exception and line, not `pod failed`."""

    worker: int | None = None
    pod: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""
    time: str = ""


class Display(StatusModel):
    """Composed strings for printer columns, which can show one path only."""

    workers: str = ""
    epoch: str = ""
    step: str = ""
    loss: str = ""
    eta: str = ""


class KerasJobStatus(StatusModel):
    """What there is."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    start_time: str | None = None
    waiting_since: str | None = Field(default=None, description="Since when the job waits for its workers.")
    completion_time: str | None = None
    resolved: Resolved | None = None
    workers: WorkerCounts = WorkerCounts()
    restarts: int = 0
    disruptions: int = 0
    ring: RingStatus | None = None
    slots: tuple[SlotStatus, ...] = ()
    progress: ProgressStatus | None = None
    checkpoint: CheckpointStatus | None = None
    last_failure: FailureStatus | None = None
    display: Display = Display()

    def incarnation_of(self, slot: int) -> int:
        """How often the slot's pod was replaced."""
        return next((entry.incarnation for entry in self.slots if entry.slot == slot), 0)

    def condition(self, type_: str) -> Condition | None:
        """The condition of a type, where there is one."""
        return next((c for c in self.conditions if c.type == type_), None)
