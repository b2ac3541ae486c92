"""One trainer of one ring revision as the agent sees it, and the judgement of its end. Used by the supervisor.

`judge` is pure: the table of what an end means.
"""

from __future__ import annotations

import signal as signals
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from kerasjob_api.constants import Reason
from kerasjob_api.exit_codes import REASONS, ExitCode
from kerasjob_api.wire import FailureRecord, Problem, Ring, TrainerExit
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.trainer_control import TrainerControl
from kerasjob_trainer.watch import Watch


@dataclass
class Run:
    """A trainer, from the ring that asks for it to its end."""

    ring: Ring
    rank: int
    cancelled: threading.Event = field(default_factory=threading.Event)
    control: TrainerControl | None = None
    pid: int | None = None
    forking: bool = False  # asked for, so that there is or will be a process
    parent: str | None = None  # checkpoint that it goes on from
    stop_by: float | None = None  # told to save and to end until then
    kill_at: float | None = None
    dumping: bool = False  # told to write its stacks, before it is killed
    last_move: float = field(default_factory=time.monotonic)
    watched: bool = True  # forming, or inside of a fit, an evaluate or a predict: moves are due
    ended_by_us: tuple[ExitCode, str] | None = None  # why the agent has ended it
    notice_by: float | None = None  # told that another worker is lost: to begin to end until then
    watch: Watch | None = None
    rescuing: bool = False  # has lost a peer: writes down what it holds, and ends then
    failure: FailureRecord | None = None
    histories: list[Any] = field(default_factory=list)
    evaluations: list[Any] = field(default_factory=list)

    def has_ended_well(self, code: int | None) -> bool:
        """Whether it was the whole program that ended with 0: not where the program has gone on after a loss."""
        return code == ExitCode.DONE and not self.rescuing

    def touch(self, at: float | None = None) -> None:
        """It moves; or it waits for another worker, which has moved then (monotonic)."""
        self.last_move = max(self.last_move, time.monotonic() if at is None else at)


class Outcome(Enum):
    """What follows from a trainer's end."""

    DONE = "done"  # the agent ends with 0
    END = "end"  # the agent ends with the verdict's code
    LOST = "lost"  # the agent stays and waits for the next ring


@dataclass(frozen=True)
class Verdict:
    """The judgement, with the record for the termination message or the exit for the report."""

    outcome: Outcome
    code: int = 0
    record: FailureRecord | None = None
    exit: TrainerExit | None = None


def judge(run: Run, code: int | None, signal: int | None, settings: Settings, *, oom: bool) -> Verdict:
    """What a trainer's exit code or signal means."""
    revision = run.ring.revision
    record, worker = run.failure, settings.slot
    message = record.message if record is not None else ""
    if run.ended_by_us is not None:
        why, words = run.ended_by_us
        return Verdict(Outcome.LOST, exit=TrainerExit(revision, why, reason=REASONS[why].value, message=words))
    if run.has_ended_well(code):
        return Verdict(Outcome.DONE)
    if signal == signals.SIGKILL and oom:
        words = "the trainer was killed: out of memory (the container's limit was reached)"
        return Verdict(Outcome.END, 128 + signal, FailureRecord(Reason.OOM, words, worker=worker))
    if signal is not None:
        name = signals.Signals(signal).name if signal in list(signals.Signals) else str(signal)
        words = f"the trainer was killed by signal {signal} ({name})"
        return Verdict(
            Outcome.LOST,
            exit=TrainerExit(revision, signal=signal, reason=Reason.TRAINER_KILLED.value, message=words),
        )
    assert code is not None
    if run.rescuing:  # whatever the program has made of that, and ended the process with
        code, message = ExitCode.CLUSTER_FAULT, message or "another worker was lost"
    if code in (ExitCode.CLUSTER_FAULT, ExitCode.STALLED, ExitCode.STORE_FAULT):
        return Verdict(Outcome.LOST, exit=TrainerExit(revision, code, reason=REASONS[code].value, message=message))
    if record is None:
        words = f"the program ended the process with code {code}"
        record = FailureRecord(Reason.USER_ERROR, words, worker=worker)
        return Verdict(Outcome.END, ExitCode.USER_ERROR, record)
    return Verdict(Outcome.END, code, record)


def never_forked(run: Run, problem: Problem | None) -> TrainerExit:
    """The end of a run that found nothing to go on from in time: the store or the leader did not answer."""
    code = ExitCode.STALLED if problem is None else ExitCode.STORE_FAULT
    words = "the leader named no restore point in time" if problem is None else problem.message
    return TrainerExit(run.ring.revision, code, reason=REASONS[code].value, message=words)
