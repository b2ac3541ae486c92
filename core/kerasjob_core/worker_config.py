"""The configuration that every worker of a job gets, resolved from its spec. Used by every body."""

from __future__ import annotations

from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.wire import CheckpointConfig, DataSource, ProgramConfig, S3Access, WorkerConfig
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
        s3=S3Access(s3.endpoint, s3.region, s3.secret_name),
        checkpoint=None
        if spec.checkpoint is None
        else CheckpointConfig(
            uri=spec.checkpoint.uri,
            keep_last=spec.checkpoint.keep.last,
            every_epochs=spec.checkpoint.every_epochs,
            every_steps=spec.checkpoint.every_steps,
            every_seconds=spec.checkpoint.every_seconds,
        ),
        startup_timeout_seconds=spec.startup_timeout_seconds,
        stall_timeout_seconds=spec.stall_timeout_seconds,
    )
