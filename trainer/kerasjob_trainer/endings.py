"""From a trainer's end to the agent's: uploads are waited for, success is recorded, then the process ends.

Called by the supervisor; what waits does so in threads of its own.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import NoReturn

from kerasjob_api.constants import Reason
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import FailureRecord, Problem
from kerasjob_trainer import exports, termination
from kerasjob_trainer.checkpoints import Superseded, claim, open_checkpoints
from kerasjob_trainer.event_files import EventFiles
from kerasjob_trainer.log import log
from kerasjob_trainer.run import Outcome, Run, Verdict
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError
from kerasjob_trainer.uploads import Uploads

# How long a snapshot that is being written or uploaded may take once a program has failed.
DRAIN_SECONDS = 100.0
DONE_AGAIN_SECONDS = 2.0


class Endings:
    """The ways in which an agent ends."""

    def __init__(self, settings: Settings, status: Status, uploads: Uploads, event_files: EventFiles) -> None:
        self._settings, self._status, self._uploads, self._event_files = settings, status, uploads, event_files

    def at_once(self, code: int, record: FailureRecord) -> NoReturn:
        """Ends the agent now."""
        if record.worker is None:
            record = dataclasses.replace(record, worker=self._settings.slot)
        termination.end(code, record, self._settings.termination_log)

    def after_trainer(self, run: Run, verdict: Verdict) -> None:
        """Ends the agent once what was saved is uploaded, and success is recorded by the leader."""
        threading.Thread(target=self._finish, args=(run, verdict), name="finish", daemon=True).start()

    def preempted(self, deadline: float) -> None:
        """Ends the agent once what was saved is uploaded, or at the deadline (monotonic)."""
        threading.Thread(target=self._stop, args=(deadline,), name="stop", daemon=True).start()

    def _finish(self, run: Run, verdict: Verdict) -> None:
        is_done = verdict.outcome is Outcome.DONE
        if run.rank == 0:
            self._event_files.mirror(run.ring.revision)
        self._uploads.drain(None if is_done else DRAIN_SECONDS)
        try:
            exported = self._commit_done(run) if is_done and run.rank == 0 else None
        except Superseded as error:  # the job's end is that of the newer ring
            log.warning("the program is done, and that is not recorded: %s", error)
            self.at_once(ExitCode.CLUSTER_FAULT, FailureRecord(Reason.CLUSTER_FAULT, str(error)))
        report = self._status.report()
        record = verdict.record or FailureRecord(
            Reason.SUCCEEDED, progress=report.progress, checkpoint=report.checkpoint, export=exported
        )
        self.at_once(verdict.code, record)

    def _commit_done(self, run: Run) -> str | None:
        """Answers where the model is that was exported. Raises Superseded where the ring is over."""
        config = self._settings.config
        while True:
            try:
                exported = None
                if config.export is not None:
                    exported = exports.upload(self._settings, run.ring.revision)
                    log.info("the model is in %s", exported)
                if config.checkpoint is not None:
                    results = {"evaluate": run.evaluations}
                    claim(self._settings, run.ring.revision)
                    open_checkpoints(self._settings).commit_done(run.ring.revision, run.histories, results, exported)
            except StoreError as error:
                log.warning("the program is done, and that is not written yet: %s", error)
                self._status.set(problem=Problem(Reason.STORAGE_ERROR, str(error)))
                time.sleep(DONE_AGAIN_SECONDS)
            else:
                return exported

    def _stop(self, deadline: float) -> None:
        is_stored = self._uploads.drain_before_end(max(0.0, deadline - time.monotonic()))
        report = self._status.report()
        words = "told to stop; the program goes on from its last checkpoint"
        if not is_stored:
            why = report.problem.message if report.problem is not None else "there was no time"
            words = f"told to stop, and what was saved last is not in the store ({why}): it goes on from what is"
        record = FailureRecord(Reason.PREEMPTED, words, progress=report.progress, checkpoint=report.checkpoint)
        self.at_once(ExitCode.PREEMPTED, record)
