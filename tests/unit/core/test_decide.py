"""What is decided, as sentences: start, ring, end."""

from dataclasses import replace

import pytest
from tests.unit.core.builders import NOW, a_job, progress

from kerasjob_api.spec import Elastic
from kerasjob_api.status import SlotStatus
from kerasjob_api.wire import CheckpointRef, FailureRecord, Problem
from kerasjob_core.observed import PodPhase, Waiting
from kerasjob_core.plan import CreateWorker, DeleteWorker, EnsureBase, Plan, PushRing


def kinds(plan):
    return [type(action).__name__ for action in plan.actions]


def condition(plan, type_):
    return plan.status.condition(type_)


def test_first_sight_pins_image_and_seed_and_does_nothing_else():
    plan = a_job(2).decide()
    assert (plan.status.resolved.image, plan.status.resolved.seed) == ("default:1", 7)
    assert plan.status.phase == "Pending"
    assert plan.actions == ()
    assert plan.requeue_after == 0
    assert [event.reason for event in plan.events] == ["Created"]


def test_the_specs_seed_and_image_come_first():
    plan = a_job(seed=3, image="mine:2").decide()
    assert (plan.status.resolved.image, plan.status.resolved.seed) == ("mine:2", 3)


def test_then_what_pods_need_is_made_then_the_pods():
    plan = a_job(2).accepted().but(base_present=False).decide()
    assert plan.actions == (EnsureBase("default:1", 7), CreateWorker(0, 0), CreateWorker(1, 0))


def test_workers_that_are_there_are_not_made_again():
    plan = a_job(3).ready().without(1).decide()
    assert plan.actions == (CreateWorker(1, 0),)


def test_no_ring_before_every_worker_is_ready():
    job = a_job(2).ready()
    for missing in (job.without(1), job.worker(1, ready=False), job.worker(1, endpoint=None)):
        plan = missing.decide()
        assert plan.status is None or plan.status.ring is None


def test_the_ring_is_written_and_nothing_is_pushed_in_that_pass():
    plan = a_job(2).ready().decide()
    ring = plan.status.ring
    assert [(m.slot, m.host, m.port) for m in ring.members] == [(0, "10.0.0.1", None), (1, "10.0.0.2", None)]
    assert (ring.agent_port, ring.port) == (8470, 8481)
    assert plan.actions == ()
    assert plan.requeue_after == 0
    assert plan.status.phase == "Starting"


def test_in_the_next_pass_it_is_pushed_to_all_as_it_was_written():
    job = a_job(2).ringed()
    plan = job.decide()
    assert kinds(plan) == ["PushRing", "PushRing"]
    (first, second) = plan.actions
    assert isinstance(first, PushRing)
    assert first.ring == second.ring
    assert [m.host for m in first.ring.members] == [m.host for m in job.status.ring.members]
    assert first.ring.job == "uid-1"


def test_who_has_taken_the_ring_is_left_alone():
    plan = a_job(2).ringed().reports(0, "forming").decide()
    assert [action.worker for action in plan.actions] == ["mnist-1-0"]


def test_once_all_train_the_job_runs():
    job = a_job(2).ringed().reports(0, "training")
    assert job.decide().status is None or job.decide().status.phase == "Starting"
    plan = job.reports(1, "training").decide()
    assert plan.status.phase == "Running"
    assert [event.reason for event in plan.events] == ["RingFormed"]


def test_a_job_that_runs_undisturbed_is_left_alone():
    assert a_job(2).running().decide() == Plan()


def test_a_new_operator_which_has_heard_of_nobody_gives_nothing_to_a_job_that_trains():
    job = a_job(2).running()
    unheard = [replace(worker, report=None) for worker in job.seen().workers]
    assert job.with_workers(*unheard).decide() == Plan()


def test_a_job_that_is_being_deleted_is_left_alone():
    assert a_job(2).ringed().but(deleting=True).decide() == Plan()


@pytest.mark.parametrize("make", [lambda job: job.ended(0, 0), lambda job: job.ended(1, 0).ended(0, 0)])
def test_success_is_the_leaders_word(make):
    plan = make(a_job(2).running()).decide()
    assert plan.status.phase == "Succeeded"
    assert plan.status.completion_time is not None
    assert [event.reason for event in plan.events] == ["ProgramSucceeded"]


def test_another_worker_that_is_done_is_done_for_itself():
    plan = a_job(2).running().ended(1, 0).decide(5)
    assert plan.status.phase == "Running"
    assert plan.status.workers.succeeded == 1
    assert plan.actions == ()


def test_workers_that_get_ready_one_by_one_are_written_every_so_often():
    job = a_job(3).ready().worker(1, ready=False).worker(2, ready=False).next()
    assert job.status.workers.ready == 0, "as it was accepted, a moment before"
    two = job.worker(1, ready=True)
    assert two.decide(1) == Plan(requeue_after=4)
    assert two.decide(5).status.workers.ready == 2


def test_a_worker_made_again_that_finds_the_record_ends_the_job():
    job = a_job(2).running().without(0).but(confirmed_absent=frozenset({"mnist-0-0"})).next()
    assert job.status.slots == (SlotStatus(slot=0, incarnation=1),)
    plan = a_job(2).ready().ended(1, 0).decide()
    assert plan.status.phase == "Succeeded"


def test_a_finished_job_deletes_what_still_runs_and_makes_nothing():
    job = a_job(3).running().ended(0, 0).next()
    assert job.decide() == Plan(requeue_after=10), "the others end by themselves"
    assert job.decide(10).actions == (DeleteWorker("mnist-1-0", "pod-1-0"), DeleteWorker("mnist-2-0", "pod-2-0"))
    assert job.without(1).without(2).decide() == Plan()
    gone = job.worker(1, deleting=True).ended(2, 0).next(5)
    assert gone.decide(5) == Plan()


def test_the_workers_of_a_finished_job_are_counted_as_they_ended():
    def counts(job):
        workers = job.status.workers
        return workers.ready, workers.succeeded, workers.failed, job.status.display.workers

    job = a_job(3).running().ended(0, 0).next()
    assert counts(job) == (0, 1, 0, "0/3")
    later = job.ended(1, 0).worker(2, deleting=True)
    assert later.decide(1).status is None, "every so often"
    counted = later.next(5)
    assert counts(counted) == (0, 2, 0, "0/3")
    assert counts(counted.without(0).without(1).without(2).next(20)) == (0, 2, 0, "0/3"), "also once pods are gone"
    assert counts(counted.ended(2, 20).next(20)) == (0, 2, 0, "0/3"), "its ring was gone"
    scaled = a_job(2, elastic=Elastic(min_workers=1, wait_seconds=0)).running().ended(0, 137).next().without(0)
    scaled = scaled.lost(1, code=20).next(1)
    assert [m.slot for m in scaled.status.ring.members] == [1]
    assert counts(scaled.with_spec(workers=1).ended(1, 0).next(2)) == (0, 1, 0, "0/1"), "also one that was to leave"
    assert counts(a_job(2).running().ended(1, 10).next()) == (0, 0, 1, "0/2")
    assert counts(a_job(2, max_restarts=0).running().ended(1, 137).next()) == (0, 0, 1, "0/2")


def test_a_finished_job_stays_finished_whatever_is_seen():
    job = a_job(2).running().ended(0, 0).next()
    assert job.ended(1, 10).decide() == Plan()
    assert job.without(0).without(1).decide() == Plan()


def test_an_invalid_spec_says_all_that_is_wrong_and_makes_nothing():
    job = a_job()
    refused = type(job)(None, faults=("spec.workers: 0 is too few", "spec.program: required"))
    plan = refused.decide()
    assert plan.status.phase == "Invalid"
    assert condition(plan, "Invalid").message == "spec.workers: 0 is too few; spec.program: required"
    assert plan.actions == ()
    assert refused.with_status(plan.status).decide() == Plan()


def test_a_corrected_spec_is_looked_at_afresh():
    job = a_job()
    status = type(job)(None, faults=("wrong",)).decide().status
    plan = job.with_status(status).decide()
    assert condition(plan, "Invalid").status == "False"
    assert plan.status.phase == "Pending"


def test_a_refused_pod_makes_the_job_invalid_in_the_servers_words_until_it_heals():
    job = a_job(2).accepted().but(rejection=Waiting("PodRejected", "denied by policy x"))
    plan = job.decide()
    assert plan.status.phase == "Invalid"
    assert condition(plan, "Invalid").message == "denied by policy x"
    assert kinds(plan) == ["CreateWorker", "CreateWorker"], "it is tried again"
    again = job.with_status(plan.status).decide()
    assert again.status is None
    healed = job.with_status(plan.status).but(rejection=None).decide()
    assert condition(healed, "Invalid").status == "False"


def test_a_quota_is_a_problem_not_an_end():
    plan = a_job().accepted().but(rejection=Waiting("QuotaExceeded", "pods: 10 of 10")).decide()
    assert condition(plan, "Problem").reason == "QuotaExceeded"
    assert plan.status.phase == "Pending"


def test_gangs_that_are_not_served_are_waited_for_and_final_only_later():
    job = a_job().accepted().but(rejection=Waiting("GangSchedulingNotServed", "needs the API"))
    plan = job.decide()
    assert (condition(plan, "Problem").message, plan.status.phase) == ("needs the API", "Pending")
    healed = job.with_status(plan.status).but(rejection=None).decide()
    assert condition(healed, "Problem").status == "False"
    late = job.with_status(plan.status).decide(600).status
    assert (late.phase, late.last_failure.reason) == ("Failed", "GangSchedulingNotServed")


def test_a_startup_problem_is_reported_once_and_cleared():
    job = a_job(2).ready().worker(1, ready=False, waiting=Waiting("ImagePullBackOff", "no such image"))
    plan = job.decide()
    assert condition(plan, "Problem").message == "worker 1 (mnist-1-0): ImagePullBackOff: no such image"
    assert [event.reason for event in plan.events] == ["ImageCannotBePulled"]
    other_words = job.worker(1, waiting=Waiting("ErrImagePull", "back-off 20s")).with_status(plan.status)
    assert other_words.decide().status is None
    cleared = job.worker(1, ready=True, waiting=None).with_status(plan.status).decide()
    assert condition(cleared, "Problem").status == "False"


def test_an_agents_own_problem_is_reported_in_its_words():
    problem = Problem("StorageError", "bucket b: no such bucket")
    plan = a_job().ready().worker(0, ready=False).reports(0, "staging", revision=0, problem=problem).decide()
    assert condition(plan, "Problem").message == "worker 0 (mnist-0-0): bucket b: no such bucket"


def test_checkpoints_that_are_late_are_said_once_and_taken_back():
    problem = Problem("StorageError", "checkpoint of step 40: bucket b: SlowDown")
    saved = CheckpointRef("s3://b/c", 20, "2026-01-01T00:00:00Z")
    training = a_job(2).running().reports(0, "training", progress=progress(), checkpoint=saved).next(60)
    late = training.reports(0, "training", progress=progress(), problem=problem)
    plan = late.decide(120)
    said = condition(plan, "CheckpointsLate")
    assert (said.status, said.reason) == ("True", "StorageError")
    assert "worker 0 (mnist-0-0): checkpoint of step 40: bucket b: SlowDown" in said.message
    assert "the newest is of step 20, 2026-01-01T00:00:00Z" in said.message
    assert plan.status.phase == "Running"
    assert [event.reason for event in plan.events] == ["StorageError"]
    after = late.next(120)
    assert after.reports(0, "training", problem=Problem("StorageError", "other words")).decide(121).status is None
    healed = after.reports(0, "training", progress=progress()).decide(122)
    assert condition(healed, "CheckpointsLate").status == "False"
    assert [event.reason for event in healed.events] == ["CheckpointsSavedAgain"]
    assert condition(after.ended(0, 0).decide(122), "CheckpointsLate").status == "False"


def test_a_start_that_takes_too_long_fails_with_the_kubelets_words():
    job = a_job(startup_timeout_seconds=60).ready().worker(0, ready=False, waiting=Waiting("ErrImagePull", "not found"))
    assert job.decide().requeue_after == 60
    assert job.next().decide(59).requeue_after == 1
    plan = job.next().decide(60)
    assert plan.status.phase == "Failed"
    assert condition(plan, "Failed").reason == "StartupTimeout"
    assert "ErrImagePull: not found" in condition(plan, "Failed").message
    assert plan.status.last_failure.pod == "mnist-0-0"


def test_a_start_that_the_server_refuses_fails_with_the_servers_words():
    refusal = Waiting("PodRejected", "denied by policy x")
    job = a_job(startup_timeout_seconds=60).accepted().but(rejection=refusal).next()
    status = job.decide(60).status
    assert status.condition("Failed").message.endswith("(spec.startupTimeoutSeconds): denied by policy x")
    assert (status.last_failure.reason, status.last_failure.message) == ("PodRejected", "denied by policy x")


def test_a_quota_is_waited_for_as_long_as_it_takes_also_by_an_operator_that_has_not_met_it():
    job = a_job(2, startup_timeout_seconds=60).accepted().but(rejection=Waiting("QuotaExceeded", "pods: 1 of 1")).next()
    assert job.decide(1000).status is None
    for workers in ((), a_job(2).ready().workers[:1]):
        new = job.with_workers(*workers).but(rejection=None)
        assert new.decide(1000).status is None or new.decide(1000).status.condition("Problem").status == "True"
        assert "CreateWorker" in kinds(new.next(1000).decide(1000))


def test_once_a_quota_allows_them_workers_have_their_whole_time_to_start():
    job = a_job(startup_timeout_seconds=60).accepted().but(rejection=Waiting("QuotaExceeded", "pods: 1 of 1")).next()
    slow = a_job().ready().worker(0, ready=False).workers
    job = job.but(rejection=None).with_workers(*slow).next(1000)
    assert job.status.condition("Problem").status == "False"
    assert job.decide(1059).status is None
    assert job.decide(1060).status.condition("Failed").reason == "StartupTimeout"


def test_agents_that_the_operator_cannot_reach_are_said_soon_and_end_a_job_that_has_not_trained():
    job = a_job(2, startup_timeout_seconds=60).ringed()
    cut = job.worker(0, silent_since=NOW + 2).worker(1, silent_since=NOW + 1)
    assert (cut.decide(5).actions, cut.decide(5).requeue_after) == ((), 6), "they get the ring once they answer"
    plan = cut.decide(11)
    assert condition(plan, "Problem").reason == "AgentUnreachable"
    assert condition(plan, "Problem").message == (
        "the operator cannot reach the agents of 2 of 2 workers, that of worker 1 (mnist-1-0) at 10.0.0.2:8470: check"
        " NetworkPolicies, and the operator's egress"
    )
    assert [event.reason for event in plan.events] == ["AgentUnreachable"]
    failed = cut.next(11).decide(60).status
    assert (failed.phase, failed.last_failure.reason) == ("Failed", "AgentUnreachable")
    assert condition(job.with_status(cut.next(11).status).decide(12), "Problem").status == "False"


def test_a_ring_that_does_not_come_to_train_ends_the_job_in_time():
    job = a_job(2, startup_timeout_seconds=60).ringed().reports(0, "forming").reports(1, "forming")
    assert job.decide(59).status is None
    assert "do not train together" in condition(job.decide(60), "Failed").message
    trains = job.reports(0, "training").reports(1, "training").next(59)
    again = trains.worker(1, deleting=True).next(70).without(1)
    assert again.decide(100_000).status is None or again.decide(100_000).status.phase == "Restarting"


def test_a_job_that_has_trained_waits_for_its_workers_for_ever():
    job = a_job(startup_timeout_seconds=60).running().worker(0, deleting=True).next()
    assert job.without(0).decide(100_000).status is None or job.without(0).decide(100_000).status.phase == "Restarting"


def test_a_user_error_fails_the_job_with_exception_file_and_line():
    record = FailureRecord("UserError", "bad shape", "ValueError", "train.py", 12)
    plan = a_job(2).running().ended(1, 10, record).decide()
    assert plan.status.phase == "Failed"
    assert plan.status.last_failure.message == "ValueError: bad shape (train.py:12)"
    assert (plan.status.last_failure.exit_code, plan.status.last_failure.worker) == (10, 1)
    assert plan.status.restarts == 0


def test_a_programs_own_exit_code_is_its_word():
    plan = a_job().running().ended(0, 3).decide()
    assert plan.status.last_failure.message == "the worker's process ended with code 3"
    assert plan.status.phase == "Failed"


# Progress.


def test_the_first_progress_is_written_at_once_and_later_ones_every_so_often():
    job = a_job().running().reports(0, "training", progress=progress(3))
    plan = job.decide()
    assert plan.status.progress.step == 3
    assert (plan.status.display.epoch, plan.status.display.step, plan.status.display.loss) == ("1/2", "3/10", "0.5")
    moved = job.with_status(plan.status).reports(0, "training", progress=progress(4))
    assert moved.decide(5) == Plan(requeue_after=10)
    assert moved.decide(15).status.progress.step == 4


def test_an_eta_alone_is_not_worth_a_write():
    job = a_job().running().reports(0, "training", progress=progress(3)).next()
    assert (
        job.reports(0, "training", progress=progress(3, eta_seconds=9.0, samples_per_second=1.0)).decide(60) == Plan()
    )


def test_a_checkpoint_is_written_even_where_nothing_else_moved():
    job = a_job().running().reports(0, "training", progress=progress(3)).next()
    saved = CheckpointRef("s3://b/c", 30, "2026-01-01T00:00:09Z")
    plan = job.reports(0, "training", progress=progress(3), checkpoint=saved).decide(60)
    assert plan.status is not None
    assert plan.status.checkpoint.step == 30


def test_the_leaders_last_word_is_in_its_termination_message():
    record = FailureRecord("ProgramSucceeded", progress=progress(10), checkpoint=CheckpointRef("s3://b/c", 20, ""))
    plan = a_job().running().reports(0, "training", progress=progress(3)).next().ended(0, 0, record).decide(1)
    assert plan.status.phase == "Succeeded"
    assert plan.status.progress.step == 10
    assert plan.status.checkpoint.step == 20


def test_another_workers_progress_is_not_the_jobs():
    assert a_job(2).running().reports(1, "training", progress=progress(9)).decide() == Plan()


def test_the_good_path_is_four_passes_that_write_status():
    """Pinned, ring granted, running, done; progress apart."""
    job, writes = a_job(2), 0
    steps = [
        lambda job: job,
        lambda job: job.but(base_present=True),
        lambda job: type(job)(job.spec, job.status, a_job(2).ready().workers, job.extra),
        lambda job: job,
        lambda job: job.reports(0, "training").reports(1, "training"),
        lambda job: job.ended(1, 0),
        lambda job: job.ended(0, 0),
    ]
    for step in steps:
        job = step(job)
        writes += job.decide().status is not None
        job = job.next()
    assert job.status.phase == "Succeeded"
    assert writes <= 5, "one more where the other worker is seen to end first"


def test_pending_pods_are_not_pushed_to():
    job = a_job(2).ringed().worker(1, phase=PodPhase.PENDING, endpoint=None)
    assert [action.worker for action in job.decide().actions] == ["mnist-0-0"]
