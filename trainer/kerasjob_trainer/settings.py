"""What the pod gives its agent: environment variables and `worker.json` (docs/contracts.md). Read once, at the start.

Must import fast: the agent serves within a fraction of a second.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasjob_api.codec import from_wire
from kerasjob_api.constants import CODE_DIR, CONFIG_DIR, S3_DIR, TOKEN_DIR, TOKEN_KEY, WORK_DIR
from kerasjob_api.wire import WorkerConfig

# The program of `program.source` and the place of all programs, below the work directory.
SOURCE_NAME = "program.py"


@dataclass(frozen=True)
class Settings:
    """One worker's surroundings."""

    config: WorkerConfig
    slot: int
    incarnation: int
    host: str
    port: int
    work: Path
    token: str
    termination_log: Path
    s3_dir: Path
    code_dir: Path

    @property
    def program_dir(self) -> Path:
        """Working directory of the program; its code is copied there."""
        return self.work / "program"

    @property
    def staged(self) -> Path:
        """Lists what was in the program's directory before it has run."""
        return self.work / "staged.json"

    @property
    def keras_home(self) -> Path:
        """`KERAS_HOME` of the program."""
        return self.work / "keras"

    @property
    def snapshots(self) -> Path:
        """Where trainers write what belongs to a state besides its tensors."""
        return self.work / "snapshots"

    @property
    def archives(self) -> Path:
        """Where a trainer packs the program's files."""
        return self.work / "archives"

    @property
    def exported(self) -> Path:
        """Where the leader's trainer writes the model at the end."""
        return self.work / "export"

    @property
    def temporary(self) -> Path:
        """`TMPDIR` of trainers: one that is killed leaves files there, which the agent takes away."""
        return self.work / "tmp"

    @property
    def stop_seconds(self) -> float:
        """How long the agent may take to end once it is told to: a little less than the kubelet lets it."""
        grace = self.config.termination_grace_period_seconds
        return grace - min(20.0, grace / 5)

    @property
    def restored(self) -> Path:
        """Where the agent puts checkpoints for the trainer to restore."""
        return self.work / "restored"


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads all of it. Raises OSError, KeyError or ValueError where something is missing."""
    config_file = Path(environ.get("KERASJOB_CONFIG", f"{CONFIG_DIR}/worker.json"))
    config = from_wire(WorkerConfig, json.loads(config_file.read_text()))
    token_file = Path(environ.get("KERASJOB_TOKEN_FILE", f"{TOKEN_DIR}/{TOKEN_KEY}"))
    return Settings(
        config=config,
        slot=int(environ["KERASJOB_SLOT"]),
        incarnation=int(environ.get("KERASJOB_INCARNATION", "0")),
        host=environ.get("KERASJOB_AGENT_HOST", ""),
        port=int(environ.get("KERASJOB_AGENT_PORT", str(config.agent_port))),
        work=Path(environ.get("KERASJOB_WORK_DIR", WORK_DIR)).absolute(),
        token=token_file.read_text().strip(),
        termination_log=Path(environ.get("KERASJOB_TERMINATION_LOG", "/dev/termination-log")),
        s3_dir=Path(environ.get("KERASJOB_S3_DIR", S3_DIR)),
        code_dir=Path(environ.get("KERASJOB_CODE_DIR", CODE_DIR)),
    )
