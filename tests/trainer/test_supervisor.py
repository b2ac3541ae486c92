"""What the agent makes of the end of a trainer, where something else was asked of it at the same moment."""

import dataclasses
import os
import time
from pathlib import Path

import pytest

from kerasjob_api.constants import WorkerState
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import Member, ProgramConfig, Ring, WorkerConfig
from kerasjob_trainer.run import Run
from kerasjob_trainer.runspec import restored_dir
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.supervisor import Supervisor

CONFIG = WorkerConfig("default", "job", "uid", 1, 1, ProgramConfig(script="train.py"))


class FakeEndings:
    """Remembers how the agent was to end."""

    def __init__(self):
        self.told = []

    def preempted(self, deadline):
        self.told.append("preempted")
        self.deadline = deadline

    def after_trainer(self, _run, verdict):
        self.told.append(verdict.outcome.value)


def a_ring(revision, **fields):
    return Ring("uid", revision, (Member(0, 0, "127.0.0.1", 8470, 8480 + revision),), **fields)


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    supervisor = Supervisor(Settings(CONFIG, 0, 0, "", 0, tmp_path, "", Path(), Path(), Path()))
    supervisor._endings = FakeEndings()
    supervisor._run = Run(a_ring(1), 0, forking=True)
    for state in (WorkerState.READY, WorkerState.FORMING, WorkerState.TRAINING):
        supervisor._status.move(state, revision=1)
    begun = []
    monkeypatch.setattr(supervisor, "_begin", lambda: begun.append(supervisor._wanted.revision))
    supervisor.begun = begun
    return supervisor


def want(supervisor, ring):
    supervisor._wanted = ring
    supervisor._status.move(WorkerState.FORMING, revision=ring.revision)


def end(supervisor, code):
    supervisor._judge_exit(supervisor._run, code, None)
    return supervisor._endings.told, supervisor.begun


def test_a_trainer_that_saved_for_a_larger_ring_is_followed_by_the_next(supervisor):
    want(supervisor, a_ring(2, after_step=True))
    assert end(supervisor, ExitCode.PREEMPTED) == ([], [2])


def test_a_program_that_ended_well_before_the_larger_ring_has_ended(supervisor):
    want(supervisor, a_ring(2, after_step=True))
    assert end(supervisor, ExitCode.DONE) == (["done"], [])


def test_one_that_was_told_to_stop_is_preempted(supervisor):
    supervisor._stopping = True
    assert end(supervisor, ExitCode.PREEMPTED) == (["preempted"], [])


@pytest.mark.parametrize(("grace", "seconds"), [(120, 100), (10, 8), (3600, 3580)])
def test_a_stop_takes_a_little_less_than_the_grace_period(supervisor, grace, seconds):
    config = dataclasses.replace(CONFIG, termination_grace_period_seconds=grace)
    supervisor._settings = dataclasses.replace(supervisor._settings, config=config)
    supervisor._run = None
    supervisor._stop()
    assert supervisor._endings.deadline == supervisor._stop_began + seconds


def test_one_that_ended_well_when_it_was_told_to_stop_has_ended_well(supervisor):
    supervisor._stopping = True
    assert end(supervisor, ExitCode.DONE) == (["done"], [])


def test_a_checkpoint_that_comes_slowly_is_life_and_one_that_does_not_come_is_none(supervisor):
    run = supervisor._run = Run(a_ring(1), 0)
    long_ago = run.last_move = time.monotonic() - 100
    folder = restored_dir(supervisor._settings, 1)
    folder.mkdir(parents=True)
    for _ in range(2):
        with (folder / "state.part").open("ab") as file:
            file.write(b"x" * 100_000)
            os.fsync(file)
        supervisor._tick()
        assert run.last_move > long_ago
        run.last_move = long_ago
        supervisor._tick()
        assert run.last_move == long_ago
