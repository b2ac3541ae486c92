"""The configuration that every worker of a job gets, resolved from its spec. Used by every body."""

from __future__ import annotations

from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_storage import Checkpoint
from kerasjob_api.wire import (
    CheckpointConfig,
    DataSource,
    ExportConfig,
    KeepBest,
    KeepConfig,
    ProgramConfig,
    S3Access,
    WorkerConfig,
)
from kerasjob_core.observed import JobRef


def worker_config(ref: JobRef, spec: KerasJobSpec, seed: int) -> WorkerConfig:
    """`worker.json` of a job."""
    s3, program = spec.storage.s3, spec.program
    return WorkerConfig(
        namespace=ref.namespace,
        name=ref.name,
        uid=ref.uid,
        workers=spec.workers,
        seed=seed,
        program=ProgramConfig(program.script, program.module, program.source, program.args, program.recipe),
        data=tuple(DataSource(item.uri, item.path) for item in spec.data),
        s3=S3Access(s3.endpoint, s3.region, s3.secret_name, s3.addressing_style, s3.encryption, s3.kms_key_id),
        checkpoint=None if spec.checkpoint is None else _checkpoint(spec.checkpoint),
        export=None if spec.export is None else ExportConfig(spec.export.uri, spec.export.format),
        events_uri=None if spec.events_uri is None else f"{spec.events_uri.rstrip('/')}/{ref.uid}/tensorboard/",
        startup_timeout_seconds=spec.startup_timeout_seconds,
        stall_timeout_seconds=spec.stall_timeout_seconds,
        termination_grace_period_seconds=spec.termination_grace_period_seconds,
    )


def _checkpoint(spec: Checkpoint) -> CheckpointConfig:
    keep, best = spec.keep, spec.keep.best
    return CheckpointConfig(
        uri=spec.uri,
        every_epochs=spec.every_epochs,
        every_steps=spec.every_steps,
        every_seconds=spec.every_seconds,
        keep=KeepConfig(
            keep.last,
            keep.every_epochs,
            keep.every_steps,
            None if best is None else KeepBest(best.metric, best.mode, best.number),
        ),
    )
