"""The operator's log, as text or as JSON: one object a line."""

from __future__ import annotations

import logging
import sys

from kerasjob_api.json_log import json_line
from kerasjob_operator.settings import OperatorSettings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonFormatter(logging.Formatter):
    """See `json_line`."""

    def format(self, record: logging.LogRecord) -> str:
        return json_line(record, record.name)


def set_up(settings: OperatorSettings) -> None:
    """To standard error. kopf speaks of objects only where something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
