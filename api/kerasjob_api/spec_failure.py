"""`spec.failurePolicy`, typed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from kerasjob_api.spec_model import Model, rule

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
