"""`spec` of a KerasJob, typed. The one source: the CRD is generated from it, the client reads files with it.

A field's description is what `kubectl explain` shows. Nothing here does I/O. The agent never imports this module
(pydantic costs start-up time): it gets a resolved `wire.WorkerConfig`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from kerasjob_api.constants import CONTROLLER
from kerasjob_api.spec_failure import FailurePolicy
from kerasjob_api.spec_model import MANAGER, CoreObject, Model, Resources, rule
from kerasjob_api.spec_program import Program
from kerasjob_api.spec_storage import Checkpoint, Data, Export, Storage
from kerasjob_api.spec_tensorboard import TensorBoard


class Elastic(Model):
    """Going on with fewer workers than `spec.workers` while some cannot be had."""

    min_workers: int = Field(ge=1, le=1024, description="With how many workers the job goes on at the least.")
    wait_seconds: int = Field(
        default=60,
        ge=0,
        le=864_000,
        description="How long missing workers are waited for before the job begins, or goes on, without them, and how"
        " long it trains before it takes in some that have come back, where that is not all of them.",
    )


class Scheduling(Model):
    """How the workers' pods are given to nodes."""

    gang: Literal["None", "Native"] = Field(
        default="None",
        description="Native: enough workers of the job get nodes at once, or none does, by the PodGroup of Kubernetes's"
        " own scheduler. None: each gets one by itself.",
    )


# Never change. Of what may be any object of core/v1, CEL cannot tell: PINNED says what becomes of those.
IMMUTABLE = [
    "image",
    "program",
    "storage",
    "data",
    "checkpoint",
    "export",
    "tensorBoard",
    "seed",
    "managedBy",
    "scheduling",
]
# Read once, at the start: `policies/pin.py` says so where they change later.
PINNED = (
    "image_pull_policy",
    "resources",
    "stall_timeout_seconds",
    "termination_grace_period_seconds",
    "env",
    "env_from",
    "volumes",
    "volume_mounts",
    "image_pull_secrets",
    "service_account_name",
    "node_selector",
    "tolerations",
    "pod_template",
)
CORE_OBJECTS = (
    "resources",
    "env",
    "env_from",
    "volumes",
    "volume_mounts",
    "image_pull_secrets",
    "tolerations",
    "pod_template",
)


def _never_changes() -> list[JsonDict]:
    return [
        rule(
            f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            f"spec.{name} cannot change after the job was created; create a new job",
            fieldPath=f".{name}",
        )
        for name in IMMUTABLE
    ]


class KerasJobSpec(Model):
    """What the user wants."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                *_never_changes(),
                rule(
                    "self.workers == oldSelf.workers || (has(self.elastic) && has(oldSelf.elastic))",
                    "spec.workers can change only in a job that has spec.elastic; create a new job",
                    fieldPath=".workers",
                ),
                rule(
                    "!has(self.scheduling) || self.scheduling.gang != 'Native' ||"
                    " (has(self.elastic) == has(oldSelf.elastic) &&"
                    " (!has(self.elastic) || self.elastic.minWorkers == oldSelf.elastic.minWorkers))",
                    "spec.elastic.minWorkers is the size of the gang and cannot change in a job that has"
                    " spec.scheduling.gang Native; create a new job",
                    fieldPath=".elastic",
                ),
                rule(
                    "!has(self.tensorBoard) || !self.tensorBoard.enabled || has(self.tensorBoard.uri) ||"
                    " has(self.checkpoint)",
                    "spec.tensorBoard needs spec.checkpoint or a uri of its own: event files are kept there",
                    fieldPath=".tensorBoard",
                ),
                rule(
                    "!has(self.elastic) || self.elastic.minWorkers <= self.workers",
                    "spec.elastic.minWorkers cannot be more than spec.workers",
                    fieldPath=".elastic",
                ),
            ]
        }
    )

    workers: int = Field(default=1, ge=1, le=1024, description="Number of worker pods.")
    elastic: Elastic | None = Field(
        default=None, description="Where given, the job goes on with fewer workers while some cannot be had."
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Image of the worker pods; the operator's default where not given.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="As in core/v1."
    )
    program: Program = Field(description="The Keras program. Exactly one of script, module, source and recipe.")
    resources: Resources = Field(default=Resources(), description="Resources of the trainer container.")
    storage: Storage = Field(default=Storage(), description="The store that s3:// URIs of this job mean.")
    data: tuple[Data, ...] = Field(default=(), max_length=64, description="Data staged before the program starts.")
    checkpoint: Checkpoint | None = Field(default=None, description="Where and how often state is saved.")
    export: Export | None = Field(default=None, description="Where the trained model goes at the end.")
    tensor_board: TensorBoard | None = Field(
        default=None, description="A TensorBoard that shows what the program writes while it trains."
    )
    scheduling: Scheduling = Field(default=Scheduling(), description="How the workers' pods are given to nodes.")
    failure_policy: FailurePolicy = Field(default=FailurePolicy(), description="What the job does about failures.")
    success_policy: Literal["Leader", "All"] = Field(
        default="Leader",
        description="Leader: the job has succeeded once the first worker's program has ended with 0. All: once all"
        " workers' have.",
    )
    suspend: bool = Field(
        default=False,
        description="While true the job has no pods. Workers that train save and end; the job goes on from there.",
    )
    managed_by: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        pattern=MANAGER,
        description=f"Who looks after this job; the operator leaves it alone unless that is {CONTROLLER} or nobody.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="How long the job may take, waiting for its workers included and suspended time not.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="How long after its end the job is deleted, with its pods; never where not given. What it saved"
        " stays.",
    )
    clean_pod_policy: Literal["Running", "All", "None"] = Field(
        default="Running", description="Which pods are deleted when the job has ended."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seed of all random streams; drawn once and kept in status where not given.",
    )
    startup_timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=864_000,
        description="How long a job may take until it trains for the first time, waiting for a quota apart.",
    )
    stall_timeout_seconds: int = Field(
        default=600,
        ge=10,
        le=864_000,
        description="How long `fit`, `evaluate` and `predict` may go without a step before training is restarted.",
    )
    termination_grace_period_seconds: int = Field(
        default=120,
        ge=0,
        le=86_400,
        description="How long a worker may take to save and end when it is told to stop.",
    )
    env: tuple[CoreObject, ...] = Field(default=(), max_length=256, description="Environment, as in core/v1.")
    env_from: tuple[CoreObject, ...] = Field(
        default=(), max_length=64, description="Environment sources, as in core/v1."
    )
    volumes: tuple[CoreObject, ...] = Field(default=(), max_length=64, description="Volumes, as in core/v1.")
    volume_mounts: tuple[CoreObject, ...] = Field(
        default=(), max_length=64, description="Volume mounts, as in core/v1."
    )
    image_pull_secrets: tuple[CoreObject, ...] = Field(default=(), max_length=16, description="As in core/v1.")
    service_account_name: str | None = Field(
        default=None, max_length=253, description="As in core/v1; no token is mounted."
    )
    node_selector: dict[str, str] = Field(default={}, max_length=64, description="As in core/v1.")
    tolerations: tuple[CoreObject, ...] = Field(default=(), max_length=64, description="As in core/v1.")
    pod_template: CoreObject | None = Field(
        default=None, description="Overlay on the generated pod: metadata and spec; lists merge by name."
    )

    @property
    def events_uri(self) -> str | None:
        """Below what event files are kept for TensorBoard; None where there is none."""
        if self.tensor_board is None or not self.tensor_board.enabled:
            return None
        return self.tensor_board.uri or (self.checkpoint.uri if self.checkpoint is not None else None)

    @property
    def gang_size(self) -> int | None:
        """How many workers get nodes together at the least; None where each gets one by itself. Never changes."""
        if self.scheduling.gang == "None":
            return None
        return self.workers if self.elastic is None else self.elastic.min_workers

    @property
    def has_core_objects(self) -> bool:
        """Whether anything was given whose schema only the API server knows."""
        return bool(self.model_dump(include=set(CORE_OBJECTS), exclude_defaults=True))
