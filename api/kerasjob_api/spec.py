"""`spec` of a KerasJob, typed. The one source: the CRD is generated from it, the client reads files with it.

A field's description is what `kubectl explain` shows. Nothing here does I/O. The agent never imports this module
(pydantic costs start-up time): it gets a resolved `wire.WorkerConfig`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from kerasjob_api.constants import CONTROLLER, SOURCE_MAX_BYTES
from kerasjob_api.recipe import with_text_keys

# A URI of a store: S3, or a directory (a mounted volume, or the local runner's).
STORE_URI = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|file:///.*|/.*)$"
ABSOLUTE_PATH = r"^/[^\x00]*$"
NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

# Objects of core/v1 whose schema is Kubernetes's own: kept whole here, checked by the API server when the pod is made.
CoreObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
# A recipe's words are Keras's: kept whole here, checked by `recipe.py` and, where Keras is, by the worker.
RecipeObject = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
Quantity = Annotated[str | int, Field(json_schema_extra={"x-kubernetes-int-or-string": True})]


def rule(expression: str, message: str, **extra: str) -> JsonDict:
    """One CEL rule of the CRD."""
    return {"rule": expression, "message": message, **extra}


class Model(BaseModel):
    """camelCase outside, snake_case inside; frozen; an unknown field is an error."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Code(Model):
    """Where the program's files come from; they are copied to the working directory, which is on `sys.path`."""

    config_map: str = Field(
        pattern=NAME,
        max_length=253,
        description="Name of a ConfigMap in the job's namespace whose keys are the program's files.",
    )


class Program(Model):
    """The Keras program, written as for one machine. Exactly one of script, module, source and recipe."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "[has(self.script), has(self.module), has(self.source), has(self.recipe)].filter(x, x).size() == 1",
                    "exactly one of program.script, program.module, program.source and program.recipe must be given",
                )
            ]
        }
    )

    script: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="A file: absolute in the image, or relative to the code.",
    )
    module: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
        max_length=255,
        description="A module, run as `python -m` does.",
    )
    source: str | None = Field(
        default=None, min_length=1, max_length=SOURCE_MAX_BYTES, description="The program itself."
    )
    recipe: RecipeObject | None = Field(
        default=None,
        description="The program without Python: data, preprocessing, model, compile, fit, callbacks, evaluate, export,"
        " in Keras's own names and arguments (docs/recipe.md).",
    )
    args: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(), max_length=256, description="Arguments of the program (`sys.argv[1:]`)."
    )
    code: Code | None = Field(default=None, description="Where the program's files come from.")

    @field_validator("recipe", mode="before")
    @classmethod
    def _as_the_server_has_it(cls, value: Any) -> Any:
        return with_text_keys(value)


class S3(Model):
    """How to reach S3."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s]+$",
        max_length=2048,
        description="URL of an S3 server; AWS where not given.",
    )
    region: str | None = Field(default=None, max_length=64, description="Region; the server's default where not given.")
    secret_name: str | None = Field(
        default=None,
        pattern=NAME,
        max_length=253,
        description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, optionally, AWS_SESSION_TOKEN. "
        "Where not given, the pod's own identity is used.",
    )


class Storage(Model):
    """The store that `s3://` URIs of this job mean."""

    s3: S3 = Field(default=S3(), description="How to reach S3.")


class Data(Model):
    """Data that is brought to every worker before the program starts."""

    uri: str = Field(pattern=STORE_URI, max_length=2048, description="An object, or a prefix that ends with `/`.")
    path: str = Field(pattern=ABSOLUTE_PATH, max_length=4096, description="Where it is put in the pod.")


class Best(Model):
    """The best checkpoints by a metric that `fit` shows at the end of an epoch."""

    metric: str = Field(min_length=1, max_length=253, description="Name as in Keras's logs: `val_loss`, `accuracy`.")
    mode: Literal["auto", "min", "max"] = Field(
        default="auto", description="Whether less or more is better; `auto` tells by the name."
    )
    number: int = Field(default=1, ge=1, le=1000, description="How many of the best stay.")


class Keep(Model):
    """Which checkpoints stay. Those that stay for good are Keras files (`model.keras`) as well."""

    last: int = Field(default=3, ge=1, le=1000, description="How many of the newest stay.")
    every_epochs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="One in so many epochs stays for good."
    )
    every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="One in so many training steps stays for good."
    )
    best: Best | None = Field(default=None, description="The best by a metric stay.")


class Checkpoint(Model):
    """Where and how often state is saved."""

    uri: str = Field(pattern=STORE_URI, max_length=2048, description="State lives under `uri/<job uid>/`.")
    every_epochs: int = Field(default=1, ge=1, le=1_000_000, description="Save at the end of each n-th epoch.")
    every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Save after each n-th training step as well."
    )
    every_seconds: int | None = Field(
        default=None, ge=1, le=31_536_000, description="Save at the first step after so many seconds as well."
    )
    keep: Keep = Field(default=Keep(), description="Which checkpoints stay.")


# What `status.lastFailure.reason` of a lost worker may be.
FailureReason = Literal[
    "BadData",
    "BadProgram",
    "ClusterFault",
    "OutOfMemory",
    "Preempted",
    "Stalled",
    "StorageError",
    "TrainerKilled",
    "UserError",
    "WorkerDisrupted",
    "WorkerLost",
]


class OnExitCodes(Model):
    """Exit codes of the worker's container, or of the trainer in it; 128 + n for signal n."""

    operator: Literal["In", "NotIn"] = Field(default="In", description="In: one of them. NotIn: another one.")
    values: tuple[Annotated[int, Field(ge=1, le=255)], ...] = Field(
        min_length=1, max_length=64, description="The codes."
    )


class FailureRule(Model):
    """What to do about some failures. All that is given must match; the first rule that matches counts."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(
                    "has(self.onExitCodes) || has(self.onReasons) || has(self.onWorkers) || has(self.onMessage)",
                    "a rule needs at least one of onExitCodes, onReasons, onWorkers and onMessage",
                )
            ]
        }
    )

    action: Literal["FailJob", "RestartJob", "Ignore"] = Field(
        description="FailJob: the job fails at once. RestartJob: the worker is replaced, and it counts as a restart."
        " Ignore: the worker is replaced, and it counts as a disruption."
    )
    on_exit_codes: OnExitCodes | None = Field(default=None, description="By exit code.")
    on_reasons: tuple[FailureReason, ...] | None = Field(
        default=None, min_length=1, max_length=16, description="By reason, as in `status.lastFailure.reason`."
    )
    on_workers: tuple[Annotated[int, Field(ge=0, le=1023)], ...] | None = Field(
        default=None, min_length=1, max_length=1024, description="By the worker that was lost."
    )
    on_message: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="A pattern (RE2) that is found anywhere in the failure's message.",
    )


class FailurePolicy(Model):
    """What a job does about failures. Disruptions (drain, preemption, node loss) do not count as restarts."""

    max_restarts: int = Field(default=3, ge=0, le=1_000_000, description="How many times a lost worker is replaced.")
    max_disruptions: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="How many losses in a row, with no training step in between, are borne, disruptions among them;"
        " any number where not given.",
    )
    backoff_seconds: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="How long the job waits after the second loss in a row with no training step in between. It doubles"
        " with each further one, up to 300 s or this, if it is more. The first one is never waited for.",
    )
    rules: tuple[FailureRule, ...] = Field(
        default=(), max_length=32, description="What to do about some failures; the first one that matches counts."
    )


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


class Resources(Model):
    """Resources of the trainer container, as in core/v1."""

    limits: dict[str, Quantity] = Field(default={}, max_length=64, description="Limits of the container.")
    requests: dict[str, Quantity] = Field(default={}, max_length=64, description="Requests of the container.")


# Never change. Of what may be any object of core/v1, CEL cannot tell: PINNED says what becomes of those.
IMMUTABLE = [
    "image",
    "program",
    "storage",
    "data",
    "checkpoint",
    "seed",
    "managedBy",
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
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^\s/]+$",
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
        description="How long workers may take to be ready before the job fails.",
    )
    stall_timeout_seconds: int = Field(
        default=600,
        ge=10,
        le=864_000,
        description="How long training may go without a step before it is restarted.",
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
    def has_core_objects(self) -> bool:
        """Whether anything was given whose schema only the API server knows."""
        return bool(self.model_dump(include=set(CORE_OBJECTS), exclude_defaults=True))
