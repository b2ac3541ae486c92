"""What travels between operator, agent and trainer as JSON: the ring, the worker report, the failure record.

Plain dataclasses, read and written by `codec`: the agent imports this at start, and is up in a fraction of a second.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.constants import AGENT_PORT, AGENT_PROTOCOL, TERMINATION_MESSAGE_MAX_BYTES


@dataclass(frozen=True)
class Member:
    """One worker of a ring. Its rank is its index in `Ring.members`."""

    slot: int
    incarnation: int
    host: str
    agent_port: int
    port: int  # TensorFlow's server


@dataclass(frozen=True)
class Ring:
    """One agreed membership, granted by the operator."""

    job: str  # uid
    revision: int
    members: tuple[Member, ...]
    protocol: int = AGENT_PROTOCOL
    # The ring before it is whole: its trainers end after a step that they have saved.
    after_step: bool = False

    def rank_of(self, slot: int, incarnation: int) -> int | None:
        """The rank of a worker, or None where it is no member."""
        for rank, member in enumerate(self.members):
            if (member.slot, member.incarnation) == (slot, incarnation):
                return rank
        return None


@dataclass(frozen=True)
class Metric:
    """A named value as text: NaN and infinity are no JSON numbers."""

    name: str
    value: str


@dataclass(frozen=True)
class Problem:
    """Something that stops a worker from going on and may still heal."""

    reason: str
    message: str


@dataclass(frozen=True)
class TrainerExit:
    """How the trainer of a ring revision ended. Exactly one of code and signal is given."""

    revision: int
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Progress:
    """Where training stands. `step` counts from the start of the epoch, `total_step` over the whole program."""

    call: int
    epoch: int
    epochs: int
    step: int
    steps: int | None = None
    percent: float | None = None
    eta_seconds: float | None = None
    samples_per_second: float | None = None
    metrics: tuple[Metric, ...] = ()
    updated_at: str = ""
    total_step: int = 0
    train_seconds: float = 0.0


@dataclass(frozen=True)
class CheckpointRef:
    """The newest committed checkpoint."""

    uri: str
    step: int
    saved_at: str


@dataclass(frozen=True)
class FailureRecord:
    """Why a worker ended, as its termination message says it."""

    reason: str
    message: str = ""
    exception_type: str | None = None
    file: str | None = None
    line: int | None = None
    worker: int | None = None
    step: int | None = None
    # Of a leader that is done: its last word, since nobody may have asked it before it ended.
    progress: Progress | None = None
    checkpoint: CheckpointRef | None = None
    export: str | None = None

    def to_message(self) -> str:
        """The termination message: JSON of at most 4 KiB; the text is cut, never the structure."""
        record = self
        while True:
            text = json.dumps(to_wire(record), ensure_ascii=False)
            excess = len(text.encode()) - TERMINATION_MESSAGE_MAX_BYTES
            if excess <= 0:
                return text
            keep = max(0, len(record.message) - max(excess // 4, 16) - 1)
            record = dataclasses.replace(record, message=record.message[:keep] + "…")

    @classmethod
    def from_message(cls, text: str | None) -> FailureRecord | None:
        """Reads a termination message; None where it is not one of ours."""
        if not text:
            return None
        try:
            return from_wire(cls, json.loads(text))
        except (ValueError, RecursionError):  # a program may have written anything, also ten thousand brackets
            return None


@dataclass(frozen=True)
class WorkerReport:
    """What an agent says of itself (`GET /v1/status`)."""

    slot: int
    incarnation: int
    revision: int
    state: str
    problem: Problem | None = None
    trainer_exit: TrainerExit | None = None
    progress: Progress | None = None
    checkpoint: CheckpointRef | None = None
    protocol: int = AGENT_PROTOCOL


@dataclass(frozen=True)
class S3Access:
    """How to reach S3. Keys come from the mounted secret or boto3's own chain."""

    endpoint: str | None = None
    region: str | None = None
    secret_name: str | None = None
    addressing_style: str = "auto"  # path or virtual; auto: path where an endpoint is given
    encryption: str | None = None  # AES256, aws:kms or aws:kms:dsse
    kms_key_id: str | None = None


@dataclass(frozen=True)
class DataSource:
    """Data to be brought to `path` before the program starts."""

    uri: str
    path: str


@dataclass(frozen=True)
class ProgramConfig:
    """Exactly one of script, module, source and recipe."""

    script: str | None = None
    module: str | None = None
    source: str | None = None
    args: tuple[str, ...] = ()
    recipe: dict[str, Any] | None = None


@dataclass(frozen=True)
class KeepBest:
    """The best checkpoints by a metric. `mode`: min, max or auto."""

    metric: str
    mode: str = "auto"
    number: int = 1


@dataclass(frozen=True)
class KeepConfig:
    """Which checkpoints stay."""

    last: int = 3
    every_epochs: int | None = None
    every_steps: int | None = None
    best: KeepBest | None = None


@dataclass(frozen=True)
class CheckpointConfig:
    """Where checkpoints go, when they are due and which of them stay."""

    uri: str
    every_epochs: int = 1
    every_steps: int | None = None
    every_seconds: int | None = None
    keep: KeepConfig = field(default_factory=KeepConfig)


@dataclass(frozen=True)
class ExportConfig:
    """Where the model goes at the end. `format`: keras, saved_model or weights."""

    uri: str
    format: str = "keras"


@dataclass(frozen=True)
class WorkerConfig:
    """`worker.json`: all that a worker needs to know of its job; the same for every worker."""

    namespace: str
    name: str
    uid: str
    workers: int
    seed: int
    program: ProgramConfig
    data: tuple[DataSource, ...] = ()
    s3: S3Access = field(default_factory=S3Access)
    checkpoint: CheckpointConfig | None = None
    export: ExportConfig | None = None
    events_uri: str | None = None  # where event files are kept for TensorBoard
    startup_timeout_seconds: int = 600
    stall_timeout_seconds: int = 600
    termination_grace_period_seconds: int = 120
    protocol: int = AGENT_PROTOCOL
    agent_port: int = AGENT_PORT
