"""Our own log lines: to stderr, each with the job, the worker, the ring revision and the step. Used by all of us.

As text, or with KERASJOB_LOG_FORMAT=json as one JSON object a line. Must not touch stdout: that is the program's.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from kerasjob_api.json_log import json_line

log = logging.getLogger("kerasjob")


class _Speaker:
    """Who speaks, and where the program is. `worker`, `ring`: None for what is no worker."""

    def __init__(self, job: str, worker: int | None, part: str, ring: int | None) -> None:
        self.job, self.worker, self.part, self.ring = job, worker, part, ring
        self.step: Callable[[], int] = lambda: 0

    def fields(self) -> dict[str, str | int]:
        """By name, without those that mean nothing."""
        fields: dict[str, str | int] = {"job": self.job}
        if self.worker is not None and self.ring is not None:
            fields |= {"worker": self.worker, "ring": self.ring, "step": self.step()}
        return fields


class _Text(logging.Formatter):
    """Prefixes every line with who speaks."""

    def __init__(self, speaker: _Speaker) -> None:
        super().__init__()
        self._speaker = speaker

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        fields = "".join(f"{name}={value} " for name, value in self._speaker.fields().items())
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"kerasjob {self._speaker.part} {fields}{level}{text}"


class _Json(logging.Formatter):
    """One object a line, as the operator's log has it."""

    def __init__(self, speaker: _Speaker) -> None:
        super().__init__()
        self._speaker = speaker

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record, f"kerasjob.{self._speaker.part}", self._speaker.fields())


_speaker = _Speaker("?", None, "agent", None)


def setup(job: str, worker: int | None, part: str, revision: int | None = 0) -> None:
    """Starts logging of a process. Call again after a fork."""
    global _speaker
    _speaker = _Speaker(job, worker, part, revision)
    is_json = os.environ.get("KERASJOB_LOG_FORMAT") == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(_speaker) if is_json else _Text(_speaker))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def set_revision(revision: int) -> None:
    """From now on lines name this ring revision."""
    _speaker.ring = revision


def set_step(step: Callable[[], int]) -> None:
    """From now on lines name the training step that this answers."""
    _speaker.step = step
