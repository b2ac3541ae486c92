"""What an agent tells the trainer that it forks, as a file: the trainer inherits the warm process, not the agent.

Written by the agent, read by the warm process after the fork.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.names import host_port
from kerasjob_api.wire import CheckpointConfig, ExportConfig, KeepConfig, ProgramConfig, Ring
from kerasjob_trainer.settings import Settings


@dataclass(frozen=True)
class RunSpec:
    """One trainer: its place in the ring, its program, what it restores and where it saves."""

    job: str
    slot: int
    rank: int
    revision: int
    hosts: tuple[str, ...]  # host:port of TensorFlow, by rank
    seed: int
    program: ProgramConfig
    program_dir: str
    staged: str  # lists what is in `program_dir` and no output
    keras_home: str
    snapshots: str
    archives: str
    exported: str
    temporary: str  # TMPDIR
    restored: str  # holds a directory per checkpoint that was brought here
    every_epochs: int = 1
    every_steps: int | None = None
    every_seconds: int | None = None
    keep: KeepConfig = field(default_factory=KeepConfig)
    saves: bool = False  # has what is due uploaded
    can_save: bool = False
    checkpoint: str | None = None  # the one to go on from
    export: ExportConfig | None = None

    @property
    def num_workers(self) -> int:
        return len(self.hosts)

    @property
    def is_leader(self) -> bool:
        return self.rank == 0

    def write(self, path: Path) -> None:
        """Writes the file."""
        path.write_text(json.dumps(to_wire(self)))

    @classmethod
    def read(cls, path: str) -> RunSpec:
        """Reads the file."""
        return from_wire(cls, json.loads(Path(path).read_text()))


def restored_dir(settings: Settings, revision: int) -> Path:
    """Where the agent puts the checkpoints that a ring revision goes on from."""
    return settings.restored / f"r{revision}"


def spec_of(settings: Settings, ring: Ring, rank: int, checkpoint: str | None) -> RunSpec:
    """What the trainer of this worker is told."""
    config = settings.config
    checkpoint_config = config.checkpoint or CheckpointConfig("")
    return RunSpec(
        job=config.name,
        slot=settings.slot,
        rank=rank,
        revision=ring.revision,
        hosts=tuple(host_port(member.host, member.port) for member in ring.members),
        seed=config.seed,
        program=config.program,
        program_dir=str(settings.program_dir),
        staged=str(settings.staged),
        keras_home=str(settings.keras_home),
        snapshots=str(settings.snapshots),
        archives=str(settings.archives),
        exported=str(settings.exported),
        temporary=str(settings.temporary),
        restored=str(restored_dir(settings, ring.revision)),
        every_epochs=checkpoint_config.every_epochs,
        every_steps=checkpoint_config.every_steps,
        every_seconds=checkpoint_config.every_seconds,
        keep=checkpoint_config.keep,
        saves=config.checkpoint is not None and rank == 0,
        can_save=config.checkpoint is not None,
        checkpoint=checkpoint,
        export=config.export,
    )
