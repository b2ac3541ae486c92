"""`status` of a KerasJob, typed. Written by the operator alone, once per pass at the most."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kerasjob_api.constants import AGENT_PORT, TF_PORT_BASE


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
    digest: str = Field(default="", description="Of those fields of the spec that are read once, at the start.")


class WorkerCounts(StatusModel):
    """How many workers there are in each state."""

    desired: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0
    done: tuple[int, ...] = Field(
        default=(), description="Slots whose program has ended with 0, also where their pods are gone since."
    )
    updated_at: str = ""


class RingMember(StatusModel):
    """One member of the ring. Its rank is its index."""

    slot: int
    incarnation: int
    host: str
    agent_port: int | None = Field(default=None, description="The ring's, where not given.")
    port: int | None = Field(default=None, description="TensorFlow's; the ring's, where not given.")


class SlotStatus(StatusModel):
    """One incarnation of a slot, whose pod was replaced so often."""

    slot: int
    incarnation: int


class RingStatus(StatusModel):
    """The ring revision in force. Written before it is used."""

    revision: int
    agent_port: int = Field(default=AGENT_PORT, description="Of members that name none.")
    port: int = Field(default=TF_PORT_BASE, description="TensorFlow's, of members that name none.")
    members: tuple[RingMember, ...] = ()
    broken: bool = Field(default=False, description="A member was lost; its loss has been counted.")
    after_step: bool = Field(default=False, description="The ring before is whole; its trainers end after a step.")
    former_leader: SlotStatus | None = Field(
        default=None, description="Of the ring before, where that is whole: it may end well before it takes this one."
    )


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
    train_seconds: int = Field(default=0, description="Spent in the training steps made so far, repeated ones once.")
    metrics: tuple[MetricValue, ...] = ()
    updated_at: str = ""


class CheckpointStatus(StatusModel):
    """The newest committed checkpoint."""

    uri: str
    step: int
    saved_at: str


class ExportStatus(StatusModel):
    """The exported model."""

    uri: str


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


class Losses(StatusModel):
    """Losses of workers since the last training step that was made."""

    in_a_row: int = 0
    step: int = Field(default=0, description="How far training had come at the last one.")
    retry_at: str | None = Field(default=None, description="Before this the job does not go on.")
    replaced: tuple[int, ...] | None = Field(
        default=None,
        description="Slots that were replaced since the last loss that was counted: they are another try. None where no"
        " loss was counted since the ring was granted.",
    )


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
    phase_since: str | None = None
    phase_seconds: dict[str, int] = Field(default={}, description="How long it was in each phase before.")
    conditions: tuple[Condition, ...] = ()
    observed_generation: int = 0
    start_time: str | None = None
    waiting_since: str | None = Field(default=None, description="Since when the job waits for its workers.")
    completion_time: str | None = None
    resolved: Resolved | None = None
    workers: WorkerCounts = WorkerCounts()
    selector: str = Field(default="", description="Of the job's pods, for `kubectl scale` and autoscalers.")
    restarts: int = 0
    disruptions: int = 0
    losses: Losses = Losses()
    active_since: str | None = Field(default=None, description="Since when the job is not suspended.")
    active_seconds: int = Field(default=0, description="How long it was active before that.")
    base_incarnation: int = Field(default=0, description="Of every slot at the least: all are replaced at once.")
    ring: RingStatus | None = None
    slots: tuple[SlotStatus, ...] = ()
    progress: ProgressStatus | None = None
    checkpoint: CheckpointStatus | None = None
    export: ExportStatus | None = None
    last_failure: FailureStatus | None = None
    failures: tuple[FailureStatus, ...] = Field(default=(), description="The last few, the newest last.")
    display: Display = Display()

    def incarnation_of(self, slot: int) -> int:
        """How often the slot's pod was replaced."""
        return max(self.base_incarnation, next((e.incarnation for e in self.slots if e.slot == slot), 0))

    def condition(self, type_: str) -> Condition | None:
        """The condition of a type, where there is one."""
        return next((c for c in self.conditions if c.type == type_), None)
