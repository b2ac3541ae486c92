"""What is decided, as sentences: `failurePolicy`, its rules, its back-off and its bounds."""

import pytest
from tests.unit.core.builders import NOW, a_job, a_worker, progress

from kerasjob_api.spec_failure import FailurePolicy, FailureRule, OnExitCodes
from kerasjob_api.wire import FailureRecord
from kerasjob_core.times import from_rfc3339
from kerasjob_core.validate import parse_spec


def with_policy(job, **policy):
    return job.with_spec(failure_policy=FailurePolicy(**policy))


def a_rule(action, **criteria):
    return {"rules": (FailureRule(action=action, **criteria),)}


USER_ERROR = FailureRecord("UserError", "bad shape of batch 7", "ValueError", "train.py", 12)
RUNNING = a_job(2).running()


# Rules.


def test_a_rule_can_give_a_users_error_another_try():
    job = with_policy(RUNNING, **a_rule("RestartJob", on_exit_codes=OnExitCodes(values=(10,)))).ended(1, 10, USER_ERROR)
    status = job.decide().status
    assert (status.phase, status.restarts, status.disruptions) == ("Restarting", 1, 0)
    assert status.last_failure.message == "ValueError: bad shape of batch 7 (train.py:12)"


def test_ignored_failures_do_not_count_as_restarts():
    job = with_policy(RUNNING, max_restarts=0, **a_rule("Ignore", on_reasons=("OutOfMemory",)))
    status = job.ended(1, 137, reason="OOMKilled").decide().status
    assert (status.phase, status.restarts, status.disruptions) == ("Restarting", 0, 1)


@pytest.mark.parametrize(
    "lose",
    [
        lambda job: job.ended(1, 137, reason="OOMKilled"),
        lambda job: job.without(1).but(confirmed_absent=frozenset({"mnist-1-0"})),
        lambda job: job.lost(1, signal=9),
    ],
)
def test_a_rule_can_end_the_job_for_any_loss(lose):
    rule = a_rule("FailJob", on_reasons=("OutOfMemory", "WorkerDisrupted", "TrainerKilled"))
    plan = lose(with_policy(RUNNING, **rule)).decide()
    assert plan.status.phase == "Failed"
    assert "(spec.failurePolicy.rules[0]: FailJob)" in plan.status.condition("Failed").message
    assert plan.status.restarts + plan.status.disruptions == 0


def test_what_only_followed_a_loss_meets_no_rule():
    job = with_policy(RUNNING, **a_rule("FailJob", on_workers=(1,))).ended(0, 137).next()
    assert job.status.phase == "Restarting"
    assert job.ended(1, 20).decide().status.phase == "Restarting"


@pytest.mark.parametrize(
    ("criteria", "matches"),
    [
        ({"on_exit_codes": OnExitCodes(values=(137, 139))}, True),
        ({"on_exit_codes": OnExitCodes(operator="NotIn", values=(137,))}, False),
        ({"on_exit_codes": OnExitCodes(operator="NotIn", values=(1,))}, True),
        ({"on_workers": (0,)}, False),
        ({"on_workers": (0, 1)}, True),
        ({"on_message": "signal [0-9]+$"}, True),
        ({"on_message": "^signal"}, False),
        ({"on_reasons": ("WorkerLost",), "on_workers": (0,)}, False),
        ({"on_reasons": ("WorkerLost",), "on_workers": (1,)}, True),
    ],
)
def test_all_that_a_rule_names_must_match(criteria, matches):
    status = with_policy(RUNNING, **a_rule("FailJob", **criteria)).ended(1, 137).decide().status
    assert (status.phase == "Failed") == matches, status.last_failure


@pytest.mark.parametrize(
    ("codes", "matches"),
    [
        (OnExitCodes(values=(139,)), True),
        (OnExitCodes(values=(11,)), False),
        (OnExitCodes(operator="NotIn", values=(1, 137)), True),
        (OnExitCodes(operator="NotIn", values=(139,)), False),
    ],
)
def test_a_trainer_that_a_signal_killed_has_the_exit_code_that_a_shell_would_say(codes, matches):
    status = with_policy(RUNNING, **a_rule("FailJob", on_exit_codes=codes)).lost(1, signal=11).decide().status
    assert (status.last_failure.exit_code, status.last_failure.signal) == (139, 11)
    assert (status.phase == "Failed") == matches


def test_the_first_rule_that_matches_counts():
    ignore = FailureRule(action="Ignore", on_workers=(1,))
    fail = FailureRule(action="FailJob", on_exit_codes=OnExitCodes(values=(137,)))
    assert with_policy(RUNNING, rules=(ignore, fail)).ended(1, 137).decide().status.phase == "Restarting"
    assert with_policy(RUNNING, rules=(fail, ignore)).ended(1, 137).decide().status.phase == "Failed"


def test_a_pattern_that_would_take_for_ever_does_not():
    job = with_policy(RUNNING, **a_rule("FailJob", on_message="^(a+)+$"))
    record = FailureRecord("ClusterFault", "a" * 1000 + "!")
    assert job.ended(1, 20, record).decide().status.phase == "Restarting"


def test_what_is_wrong_with_rules_is_said_all_at_once():
    rules = [{"action": "FailJob", "onMessage": "("}, {"action": "Ignore"}, {"action": "Ignore", "onWorkers": [4]}]
    spec = {"workers": 2, "program": {"script": "a.py"}, "failurePolicy": {"rules": rules}}
    faults = "\n".join(parse_spec(spec)[1])
    assert "spec.failurePolicy.rules[0].onMessage: not a pattern of RE2: missing )" in faults
    assert "spec.failurePolicy.rules[1]: at least one of onExitCodes" in faults
    assert "spec.failurePolicy.rules[2].onWorkers: workers are 0 to 1, got 4" in faults


# Back-off.


def replaced(job):
    """Its lost worker has come again, the other one's trainer has ended."""
    workers = [a_worker(slot, job.status.incarnation_of(slot)) for slot in range(2)]
    return job.with_workers(*workers).reports(0, "lost", job.status.ring.revision)


def lost_again(job, later, step=0):
    """Ringed at `later`, and worker 1 killed a second after."""
    job = replaced(job).next(later)
    revision = job.status.ring.revision
    assert not job.status.ring.broken, "the ring has formed"
    report = {"progress": progress(step, total_step=step)} if step else {}
    job = job.reports(0, "training", revision, **report).reports(1, "training", revision).next(later)
    return job.ended(1, 137).next(later + 1)


def test_the_first_loss_is_not_waited_for():
    job = RUNNING.ended(1, 137).next()
    assert (job.status.losses.in_a_row, job.status.losses.retry_at) == (1, None)
    assert [type(a).__name__ for a in job.without(1).decide().actions] == ["CreateWorker"]


def test_losses_with_no_step_in_between_are_waited_for_longer_each_time():
    job = lost_again(RUNNING.ended(1, 137).next(), 5)
    assert job.status.losses.in_a_row == 2
    assert from_rfc3339(job.status.losses.retry_at) == NOW + 16
    waiting = job.without(1).decide(6)
    assert waiting.actions == ()
    assert waiting.requeue_after == 10
    assert [type(a).__name__ for a in job.without(1).decide(16).actions] == ["CreateWorker"]
    job = lost_again(job, 20)
    assert from_rfc3339(job.status.losses.retry_at) == NOW + 21 + 20


def test_a_step_in_between_makes_it_the_first_again():
    job = lost_again(RUNNING.ended(1, 137).next(), 5, step=40)
    assert (job.status.losses.in_a_row, job.status.losses.step, job.status.losses.retry_at) == (1, 40, None)


def test_a_ring_that_trained_for_a_while_has_come_on_even_if_nobody_can_tell():
    job = RUNNING.ended(1, 137).next()
    job = replaced(job).next(5)
    job = job.reports(0, "training", 2).reports(1, "training", 2).next(5)
    assert job.ended(1, 137).decide(40).status.losses.in_a_row == 1


def test_it_is_told_how_long_it_is_waited():
    job = replaced(RUNNING.ended(1, 137).next()).next(5)
    job = job.reports(0, "training", 2).reports(1, "training", 2).next(5)
    events = job.ended(1, 137).decide(6).events
    assert [e.message for e in events if e.reason == "BackOff"] == ["goes on in 10 s: 2 losses with no step in between"]


def test_no_back_off_where_none_is_wanted():
    job = lost_again(with_policy(RUNNING, backoff_seconds=0).ended(1, 137).next(), 5)
    assert (job.status.losses.in_a_row, job.status.losses.retry_at) == (2, None)


# Bounds.


def test_disruptions_without_a_step_in_between_are_borne_so_often():
    job = with_policy(RUNNING, max_disruptions=1, backoff_seconds=0).worker(1, deleting=True).next()
    assert job.status.phase == "Restarting"
    job = replaced(job).next(5)
    job = job.reports(0, "training", 2).reports(1, "training", 2).next(5)
    plan = job.worker(1, deleting=True).decide(6)
    assert plan.status.phase == "Failed"
    assert plan.status.condition("Failed").reason == "MaxDisruptionsExceeded"
    assert "2 times in a row" in plan.status.condition("Failed").message


def test_the_last_few_failures_are_kept():
    job = with_policy(RUNNING, max_restarts=100, backoff_seconds=0)
    for n in range(8):
        job = lost_again(job, 10 * n) if n else job.ended(1, 137).next()
    assert len(job.status.failures) == 5
    assert job.status.failures[-1] == job.status.last_failure
