"""Lines of progress with seconds, and the one way to run a command. Used by all modules that do something."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START = time.monotonic()
_PRINTING = threading.Lock()


class ClusterError(Exception):
    """Something that the user is told in these words; the command ends with `code`."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def say(text: str) -> None:
    with _PRINTING:
        print(f"[{time.monotonic() - _START:6.1f}s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says what was done and how long it took."""
    start = time.monotonic()
    yield
    say(f"{what} ({time.monotonic() - start:.1f} s)")


def run(
    command: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command. ClusterError with its last words when it fails (unless check is false) or is not there."""
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, env=env, cwd=cwd, timeout=timeout)
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not on this machine") from error
    if check and done.returncode != 0:
        last = "\n".join((done.stderr + done.stdout).strip().splitlines()[-12:])
        raise ClusterError(f"{' '.join(words[:12])} ended with {done.returncode}:\n{last}")
    return done


def wait_until(ready: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Asks until it holds. ClusterError with the log's last lines when it does not in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log and log.exists() else ""
            raise ClusterError(f"{what}: not within {seconds:.0f} s{f'; {log} ends with:' if log else ''}\n{tail}")
        time.sleep(0.1)
