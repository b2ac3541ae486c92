"""What a local job has saved, listed by the trainer's own command. Used by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from kerasjob.errors import InvalidInput
from kerasjob.local.state import JobDir

LISTING = (sys.executable, "-m", "kerasjob_trainer.listing")
BOARD = (sys.executable, "-m", "kerasjob_trainer.board")


def list_checkpoints(directory: JobDir, options: Sequence[str]) -> int:
    """Prints the list; answers the exit code. Raises InvalidInput where no worker of the job was ever started."""
    return subprocess.run([*LISTING, *options], env=_environment(directory)).returncode


def show_tensorboard(directory: JobDir, port: int) -> NoReturn:
    """Becomes the server, so that what ends this process ends that one well. Raises InvalidInput as above."""
    command = [*BOARD, "--host", "127.0.0.1", "--port", str(port)]
    sys.stdout.flush()
    os.execve(command[0], command, _environment(directory))


def _environment(directory: JobDir) -> dict[str, str]:
    configs = sorted(directory.path.glob("workers/*/worker.json"))
    if not configs:
        raise InvalidInput(str(directory.path), ["the job has not begun yet, so nothing is saved"])
    return os.environ | {
        "KERASJOB_CONFIG": str(configs[0]),
        "KERASJOB_SLOT": "0",
        "KERASJOB_TOKEN_FILE": str(directory.path / "token"),
    }
