"""Our own log lines: to stderr, each with the job, the worker and the ring revision. Used by all of us.

Must not touch stdout: that is the program's.
"""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("kerasjob")


class _Formatter(logging.Formatter):
    """Prefixes every line with who speaks."""

    def __init__(self, job: str, worker: int, part: str) -> None:
        super().__init__()
        self.job, self.worker, self.part = job, worker, part
        self.revision = 0

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        prefix = f"kerasjob {self.part} job={self.job} worker={self.worker} ring={self.revision} "
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return prefix + level + text


def setup(job: str, worker: int, part: str, revision: int = 0) -> None:
    """Starts logging of a process. Call again after a fork."""
    formatter = _Formatter(job, worker, part)
    formatter.revision = revision
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def set_revision(revision: int) -> None:
    """From now on lines name this ring revision."""
    for handler in log.handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.revision = revision
