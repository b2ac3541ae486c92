"""The agent's end: the termination message, then the exit code. Called by the supervisor alone."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from kerasjob_api.wire import FailureRecord
from kerasjob_trainer.log import log


def end(code: int, record: FailureRecord, termination_log: Path) -> NoReturn:
    """Writes the record and ends the process. The kernel takes the warm process and the trainer with it."""
    try:
        termination_log.write_text(record.to_message())
    except OSError as error:
        log.warning("the termination message cannot be written to %s: %s", termination_log, error)
    log.log(
        logging.INFO if code == 0 else logging.ERROR,
        "ends with code %d: %s%s",
        code,
        record.reason,
        f": {record.message}" if record.message else "",
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
