"""When the agent ends a trainer that does not end by itself, and by which signals."""

import signal
from types import SimpleNamespace

import pytest

from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import Member, Ring
from kerasjob_trainer import ending_trainers
from kerasjob_trainer.ending_trainers import DUMP_SECONDS, NOTICE_SECONDS, RESCUE_SECONDS, STOP_SECONDS, EndingTrainers
from kerasjob_trainer.run import Run

STALL_SECONDS = 60.0
NOW = 1000.0


@pytest.fixture
def sent():
    return []


@pytest.fixture
def answers(monkeypatch):
    """Whether the trainer still takes signals."""
    found = SimpleNamespace(answers=True)
    monkeypatch.setattr(ending_trainers, "is_pending", lambda pid, number: not found.answers)
    return found


@pytest.fixture
def ending(sent, answers, monkeypatch):
    monkeypatch.setattr(ending_trainers, "time", SimpleNamespace(monotonic=lambda: NOW))
    return EndingTrainers(lambda pid, number: sent.append((pid, number)), STALL_SECONDS)


@pytest.fixture
def run():
    said = []
    control = SimpleNamespace(stop=lambda: said.append("stop"), say_peer_lost=lambda: said.append("peer lost"))
    made = Run(Ring("uid", 3, (Member(0, 0, "h", 1, 2),)), 0, control=control, pid=7, forking=True, last_move=NOW)
    made.said = said
    return made


def test_one_that_is_asked_to_save_has_its_time_and_is_told_then(ending, run, sent):
    ending.after_step(run)
    assert run.said == ["stop"]
    ending.tick(run, NOW + STOP_SECONDS)
    assert sent == []
    ending.tick(run, NOW + STOP_SECONDS + 0.1)
    assert sent[0] == (7, signal.SIGTERM)


def test_one_that_is_told_to_end_is_killed_a_little_later(ending, run, sent):
    ending.soon(run)
    ending.tick(run, NOW + 0.5)
    assert sent == [(7, signal.SIGTERM)]
    ending.tick(run, NOW + 1.5)
    assert sent[1:] == [(7, signal.SIGKILL)]


def test_one_that_tells_what_it_holds_is_let_finish(ending, run, sent):
    ending.soon(run)
    run.rescuing = True
    ending.tick(run, NOW + RESCUE_SECONDS - 1)
    assert (7, signal.SIGKILL) not in sent


def test_one_that_does_not_notice_a_loss_shows_its_stacks_and_is_killed(ending, run, sent):
    ending.by_itself(run)
    assert run.said == ["peer lost"]
    late = NOW + NOTICE_SECONDS + 0.1
    ending.tick(run, late)
    ending.tick(run, late + DUMP_SECONDS)
    assert sent == [(7, signal.SIGUSR2), (7, signal.SIGCONT), (7, signal.SIGKILL)]
    assert run.ended_by_us[0] is ExitCode.STALLED
    assert run.ended_by_us[1].endswith("; the stacks of the trainer are in its log")
    assert "15 s after another worker was lost" in run.ended_by_us[1]


def test_one_that_notices_is_left_alone(ending, run, sent):
    ending.by_itself(run)
    run.rescuing = True
    ending.tick(run, NOW + NOTICE_SECONDS + 1)
    assert (sent, run.ended_by_us) == ([], None)


def test_one_that_makes_no_step_shows_its_stacks_and_is_killed(ending, run, sent):
    ending.tick(run, NOW + STALL_SECONDS)
    assert sent == []
    ending.tick(run, NOW + STALL_SECONDS + 1)
    assert sent == [(7, signal.SIGUSR2), (7, signal.SIGCONT)]
    assert "no step for 60 s (spec.stallTimeoutSeconds)" in run.ended_by_us[1]


def test_of_one_that_takes_no_signal_no_stacks_are_promised(ending, run, answers):
    answers.answers = False
    ending.tick(run, NOW + STALL_SECONDS + 1)
    ending.tick(run, NOW + STALL_SECONDS + 1 + DUMP_SECONDS)
    assert run.ended_by_us[1].endswith("; it takes no signals, so its stacks are not known")


def test_outside_of_a_fit_no_step_is_waited_for(ending, run, sent):
    run.watched = False
    ending.tick(run, NOW + 10 * STALL_SECONDS)
    assert sent == []


def test_one_that_was_given_up_before_it_began_is_killed_when_it_does(ending, run, sent):
    run.pid = None
    ending.blameless(run, "another worker was lost while the ring was forming")
    assert sent == []
    run.pid = 8
    ending.has_begun(run)
    assert sent == [(8, signal.SIGKILL)]
