"""All of a worker's staging, in order: code, program check, store, done record, data. The agent runs it in a thread.

A store that says no is a problem, not an end: the secret or the bucket may come a moment later with the same apply.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from kerasjob_api.constants import Reason
from kerasjob_api.wire import Problem
from kerasjob_trainer import outputs
from kerasjob_trainer.checkpoints import Checkpoints, open_checkpoints
from kerasjob_trainer.exports import open_exports
from kerasjob_trainer.log import log
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.staging import data
from kerasjob_trainer.staging.code import check_program, copy_code
from kerasjob_trainer.staging.keras_files import link_datasets
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError

T = TypeVar("T")

_WAIT_SECONDS = 1.0
_WAIT_MAX_SECONDS = 10.0


def stage(settings: Settings, status: Status) -> dict[str, Any] | None:
    """Brings everything into place; tries until the store lets it. Raises BadProgram, OSError.

    Answers the record that the program has ended well already, in an earlier life of the job; None where it is to run.
    """
    config = settings.config
    copy_code(settings.code_dir, settings.program_dir, config.program)
    check_program(settings.program_dir, config.program)
    if config.checkpoint is not None:
        done = _retried(lambda: _done(open_checkpoints(settings)), status)
        if done is not None:
            return done
    if config.export is not None:
        _retried(lambda: open_exports(settings).entries(""), status)
    for source in config.data:
        started = time.monotonic()
        files = _retried(lambda s=source: data.stage(s, config.s3, settings.s3_dir), status)  # type: ignore[misc]
        data.link(source, settings.program_dir)
        linked = link_datasets(files, settings.keras_home)
        log.info(
            "data %s: %d files at %s in %.1f s%s",
            source.uri,
            len(files),
            source.path,
            time.monotonic() - started,
            f"; for keras.datasets: {', '.join(linked)}" if linked else "",
        )
    outputs.remember_staged(settings.program_dir, settings.staged)
    return None


def _done(checkpoints: Checkpoints) -> dict[str, Any] | None:
    checkpoints.probe()
    return checkpoints.done()


def _retried(attempt: Callable[[], T], status: Status) -> T:
    wait = _WAIT_SECONDS
    while True:
        try:
            result = attempt()
        except StoreError as error:
            if status.report().problem != (problem := Problem(Reason.STORAGE_ERROR, str(error))):
                log.warning("not ready: %s", error)
                status.set(problem=problem)
            time.sleep(wait)
            wait = min(_WAIT_MAX_SECONDS, wait * 1.5)
        else:
            status.clear_problem()
            return result
