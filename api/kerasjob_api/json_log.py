"""A line of a log as JSON: the operator's and the workers' have the same fields. No I/O."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

_TRACEBACKS = logging.Formatter()


def json_line(record: logging.LogRecord, logger: str, fields: Mapping[str, str | int] | None = None) -> str:
    """time (RFC 3339), level, logger, who speaks, message, and the traceback where there is one."""
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": logger,
        **(fields or {}),
        "message": record.getMessage(),
    }
    if record.exc_info:
        line["traceback"] = _TRACEBACKS.formatException(record.exc_info)
    return json.dumps(line, ensure_ascii=False)
