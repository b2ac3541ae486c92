"""The operator's log, as text or as JSON: one object a line."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

from kerasjob_api.json_log import json_line
from kerasjob_operator.settings import OperatorSettings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


_job: ContextVar[dict[str, str] | None] = ContextVar("_job", default=None)


@contextlib.contextmanager
def about(namespace: str, job: str) -> Iterator[None]:
    """What is logged here, by whatever is called, is of this job."""
    token = _job.set({"namespace": namespace, "job": job})
    try:
        yield
    finally:
        _job.reset(token)


class JsonFormatter(logging.Formatter):
    """See `json_line`; with `namespace` and `job` where the line is of one."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record, record.name, _job.get())


def set_up(settings: OperatorSettings) -> None:
    """To standard error. kopf speaks of objects only where something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
