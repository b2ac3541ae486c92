"""What is decided, as sentences: suspension, deadlines, the end and what follows it, whose job it is."""

import dataclasses
import json
from dataclasses import replace

import pytest
from tests.unit.core.builders import NOW, a_job, a_worker, progress

from kerasjob_api.constants import ConditionType, Reason
from kerasjob_api.spec import Elastic
from kerasjob_api.status import FailureStatus, SlotStatus
from kerasjob_api.wire import CheckpointRef, FailureRecord, Metric, WorkerReport
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Endpoint, Waiting
from kerasjob_core.plan import DeleteJob, DeleteWorker, Plan
from kerasjob_core.settings import Settings
from kerasjob_core.times import from_rfc3339


def kinds(plan):
    return [type(action).__name__ for action in plan.actions]


def reasons(plan):
    return [event.reason for event in plan.events]


# spec.suspend.


def test_a_job_that_is_made_suspended_is_accepted_and_makes_nothing():
    job = a_job(2, suspend=True)
    plan = job.decide()
    assert (plan.status.phase, plan.status.resolved, plan.status.start_time) == ("Suspended", None, None)
    assert plan.actions == ()
    assert reasons(plan) == ["Suspended"]
    assert job.next().decide(100) == Plan()


def test_what_it_begins_with_is_pinned_when_it_starts():
    job = a_job(2, suspend=True).next().with_spec(suspend=False, seed=9)
    plan = job.decide(1000)
    assert plan.status.resolved.seed == 9
    assert from_rfc3339(plan.status.start_time) == NOW + 1000
    assert plan.status.phase == "Pending"
    assert kinds(job.next(1000).decide(1000)) == ["EnsureBase", "CreateWorker", "CreateWorker"]


def test_a_running_job_is_suspended_first_in_writing_then_its_pods_go():
    job = a_job(2).running().with_spec(suspend=True)
    plan = job.decide()
    assert (plan.status.phase, plan.status.ring.broken, plan.status.base_incarnation) == ("Suspended", True, 1)
    assert plan.actions == ()
    assert job.next().decide().actions == (
        DeleteWorker("mnist-0-0", "pod-0-0"),
        DeleteWorker("mnist-1-0", "pod-1-0"),
    )


def test_what_happens_to_pods_of_a_suspended_job_is_no_loss():
    job = a_job(2).running().with_spec(suspend=True).next()
    gone = job.ended(0, 30, FailureRecord("Preempted")).ended(1, 137).next()
    assert (gone.status.restarts, gone.status.disruptions, gone.status.phase) == (0, 0, "Suspended")
    assert gone.without(0).without(1).decide() == gone.without(0).without(1).next().decide()


def test_the_last_word_of_a_suspended_leader_is_kept():
    said = FailureRecord("Preempted", progress=progress(7), checkpoint=CheckpointRef("s3://b/c", 70, ""))
    job = a_job(2).running().with_spec(suspend=True).next().ended(0, 30, said)
    status = job.decide(5).status
    assert (status.progress.step, status.checkpoint.step) == (7, 70)


def test_a_resumed_job_makes_pods_of_new_names_and_the_next_ring():
    job = a_job(2).running().with_spec(suspend=True).next().without(0).without(1)
    resumed = job.with_spec(suspend=False).next(50)
    assert resumed.status.phase == "Restarting"
    assert [(a.slot, a.incarnation) for a in resumed.decide(50).actions] == [(0, 1), (1, 1)]
    there = resumed.with_workers(a_worker(0, 1), a_worker(1, 1)).next(51)
    assert there.status.ring.revision == 2


def test_a_leader_that_ended_well_while_it_was_suspended_has_ended_well():
    job = a_job(2).running().with_spec(suspend=True).next().ended(0, 0)
    assert job.decide().status.phase == "Succeeded"


# spec.activeDeadlineSeconds.


def test_where_the_exported_model_is_is_kept():
    said = FailureRecord("ProgramSucceeded", export="s3://b/models/uid/model.keras")
    status = a_job(2).running().ended(0, 0, said).decide().status
    assert (status.phase, status.export.uri) == ("Succeeded", "s3://b/models/uid/model.keras")


def test_a_job_that_takes_too_long_fails():
    job = a_job(active_deadline_seconds=100).running()
    assert job.decide(99).requeue_after == 1
    plan = job.decide(100)
    assert (plan.status.phase, plan.status.last_failure.reason) == ("Failed", "DeadlineExceeded")
    assert "spec.activeDeadlineSeconds" in plan.status.last_failure.message


def test_suspended_time_does_not_count():
    job = a_job(active_deadline_seconds=100).running().with_spec(suspend=True).next(40)
    assert job.status.active_seconds == 40
    assert job.decide(1000).status is None or job.decide(1000).status.phase == "Suspended"
    resumed = job.without(0).with_spec(suspend=False).next(1000)
    assert resumed.decide(1059).status is None
    assert resumed.decide(1060).status.last_failure.reason == "DeadlineExceeded"


# The end.


ENDED = a_job(2).running().ended(0, 0).next()


@pytest.mark.parametrize(
    ("policy", "deleted"), [("Running", ["mnist-1-0"]), ("All", ["mnist-0-0", "mnist-1-0"]), ("None", [])]
)
def test_which_pods_stay_is_clean_pod_policys(policy, deleted):
    assert [action.name for action in ENDED.with_spec(clean_pod_policy=policy).decide(10).actions] == deleted


@pytest.mark.parametrize("code", [0, 10])
@pytest.mark.parametrize(("policy", "deleted"), [("Running", True), ("All", True), ("None", False)])
def test_what_runs_on_beside_a_trainer_that_has_ended_goes_after_a_moment(code, policy, deleted):
    job = a_job(clean_pod_policy=policy).running().ended(0, code, lingers=True).next()
    assert job.status.phase == ("Succeeded" if code == 0 else "Failed")
    assert job.decide(5).actions == (), "most end by themselves, and keep their log"
    assert job.decide(10).actions == ((DeleteWorker("mnist-0-0", "pod-0-0"),) if deleted else ())


def test_what_was_replaced_or_suspended_goes_though_its_trainer_has_ended():
    lost = a_job(2).running().ended(1, 137, lingers=True)
    assert DeleteWorker("mnist-1-0", "pod-1-0") in lost.next().decide().actions
    suspended = lost.with_spec(suspend=True).next()
    assert DeleteWorker("mnist-1-0", "pod-1-0") in suspended.decide().actions


def test_a_job_goes_when_its_time_is_over_and_never_before():
    """The end is known to the second, rounded down."""
    job = ENDED.with_spec(ttl_seconds_after_finished=30).without(1)
    job = job.next()
    assert job.decide(29.9).actions == ()
    assert 0 < job.decide(29.9).requeue_after <= 2
    assert job.decide(30.9).actions == ()
    assert job.decide(31).actions == (DeleteJob(),)


def test_without_such_a_time_it_stays():
    assert ENDED.without(1).decide(1e8) == Plan()


def test_a_change_after_the_end_is_seen_and_changes_nothing_else():
    job = ENDED.without(1).with_spec(ttl_seconds_after_finished=30)
    plan = job.decide()
    assert plan.status == ENDED.status.model_copy(update={"observed_generation": 2})


# spec.successPolicy.


def test_with_success_policy_all_every_member_must_be_done():
    job = a_job(2, success_policy="All").running().ended(0, 0)
    assert job.decide(5).status.phase == "Running"
    assert job.next().ended(1, 0).decide().status.phase == "Succeeded"


@pytest.mark.parametrize("first", [0, 1])
def test_with_success_policy_all_a_member_may_be_collected_that_is_done(first):
    said = FailureRecord("ProgramSucceeded", export="s3://b/models/uid/model.keras")
    job = a_job(2, success_policy="All").running().ended(first, 0, said).next(5).without(first)
    assert job.decide(20).status is None
    status = job.ended(1 - first, 0).decide(20).status
    assert (status.phase, status.workers.done) == ("Succeeded", (0, 1))
    assert (status.export is None) == (first == 1), "the leader's word"


def test_with_success_policy_all_a_member_that_raises_later_fails_the_job():
    job = a_job(2, success_policy="All").running().ended(0, 0).next()
    assert job.ended(1, 10, FailureRecord("UserError", "bad", "ValueError")).decide().status.phase == "Failed"


# spec.managedBy.


def test_a_job_of_another_controller_is_left_alone():
    assert a_job(managed_by="kueue.x-k8s.io/multikueue").decide() == Plan()
    assert a_job(managed_by="kerasjob.dev/operator").decide().status.phase == "Pending"


def test_a_job_of_another_controller_is_left_alone_whatever_is_wrong_with_it():
    job = a_job(managed_by="kueue.x-k8s.io/multikueue")
    assert job.with_faults("spec.podTemplate.spec.x: unknown field").decide() == Plan()
    assert job.with_faults("metadata.name: 'x.y' cannot name a service and pods").decide() == Plan()


# An edit with faults.


def test_a_job_that_has_not_begun_does_not_begin_with_faults():
    for job in (a_job(), a_job().accepted().but(base_present=False)):
        plan = job.with_faults("spec.workers: no").decide()
        assert (plan.status.phase, plan.actions) == ("Invalid", ())
        assert plan.status.condition("Invalid").message == "spec.workers: no"


def test_time_in_which_it_could_not_begin_is_no_other_phases():
    waiting = a_job().accepted().but(base_present=False)
    refused = waiting.with_faults("no").next(40)
    assert (refused.status.phase, refused.status.phase_seconds) == ("Invalid", {"Pending": 40})
    assert from_rfc3339(refused.status.phase_since) == NOW + 40
    assert refused.decide(100) == Plan()


BEGUN = [a_job(2).accepted(), a_job(2).ringed(), a_job(2).running(), a_job(2).running().ended(1, 137).next()]


@pytest.mark.parametrize("job", BEGUN, ids=["accepted", "ringed", "running", "restarting"])
def test_a_job_that_has_begun_goes_on_after_an_edit_with_faults_and_says_them(job):
    plan = job.with_faults("spec.a: no", "spec.b: no").decide()
    invalid = plan.status.condition("Invalid")
    assert (invalid.status, invalid.reason) == ("True", "InvalidSpec")
    assert invalid.message == "the job goes on without what is wrong in its spec: spec.a: no; spec.b: no"
    assert reasons(plan)[0] == "InvalidSpec"
    assert plan.actions == job.decide().actions
    assert job.with_faults("spec.a: no").next().decide() == job.next().decide(), "it is said once"


def test_all_that_ends_a_job_ends_it_also_after_an_edit_with_faults():
    job = a_job(2, active_deadline_seconds=100, startup_timeout_seconds=50).running().with_faults("no").next()
    assert job.status.phase == "Running"
    assert job.ended(0, 0).decide().status.phase == "Succeeded"
    assert job.ended(1, 10).decide().status.phase == "Failed"
    assert job.decide(100).status.last_failure.reason == "DeadlineExceeded"
    assert job.with_spec(suspend=True).decide().status.phase == "Suspended"
    assert job.ended(1, 137).decide().status.phase == "Restarting"
    ended = job.ended(0, 0).next()
    assert [a.name for a in ended.decide(10).actions] == ["mnist-1-0"]
    assert ended.status.condition("Invalid").status == "True"


def test_a_mended_spec_is_said():
    job = a_job(2).running().with_faults("no").next()
    mended = replace(job, faults=()).with_spec().decide()
    assert mended.status.condition("Invalid").status == "False"
    assert mended.status.phase == "Running"


def test_a_replacement_that_the_server_refuses_leaves_the_job_restarting():
    job = a_job(2).running().ended(1, 137).next().without(1).but(rejection=Waiting("PodRejected", "denied"))
    plan = job.decide()
    assert (plan.status.phase, plan.status.condition("Invalid").message) == ("Restarting", "denied")


# What is read once.


def test_a_change_that_has_no_effect_is_said_and_taken_back():
    job = a_job(2).running().with_spec(env=({"name": "A", "value": "1"},))
    plan = job.decide()
    assert plan.status.condition("SpecChangeIgnored").status == "True"
    assert reasons(plan) == ["PinnedAtTheStart"]
    again = job.next().with_spec(ttl_seconds_after_finished=5)
    assert reasons(again.decide()) == []
    back = job.next().with_spec(env=())
    assert back.decide().status.condition("SpecChangeIgnored").status == "False"


def test_before_anything_was_made_it_has_an_effect():
    job = a_job(2).accepted().but(base_present=False).with_spec(env=({"name": "A", "value": "1"},))
    assert job.decide().status.condition("SpecChangeIgnored") is None


def test_a_change_of_what_is_read_at_any_time_is_no_such_change():
    job = a_job(2).running().with_spec(active_deadline_seconds=1000, startup_timeout_seconds=5)
    assert job.decide().status.condition("SpecChangeIgnored") is None


# spec.workers of an elastic job.


def test_workers_above_a_smaller_number_leave_after_a_saved_step():
    job = a_job(3, elastic=Elastic(min_workers=1)).running().with_spec(workers=2)
    plan = job.decide()
    ring = plan.status.ring
    assert (ring.revision, [m.slot for m in ring.members], ring.after_step, ring.broken) == (2, [0, 1], True, False)
    assert (plan.status.restarts, plan.status.disruptions) == (0, 0)
    assert reasons(plan) == ["RingShrinks"]
    after = job.next().decide()
    assert [a.name for a in after.actions if isinstance(a, DeleteWorker)] == ["mnist-2-0"]
    assert [a.worker for a in after.actions if type(a).__name__ == "PushRing"] == ["mnist-0-0", "mnist-1-0"]


def test_a_smaller_number_waits_while_a_member_is_being_lost():
    job = a_job(3, elastic=Elastic(min_workers=1)).running().with_spec(workers=2).worker(1, ready=False)
    assert job.decide().status.ring.revision == 1


def test_where_all_that_train_are_to_leave_the_others_come_first():
    """Only those that leave hold what training has come to."""
    job = a_job(2, elastic=Elastic(min_workers=1, wait_seconds=0)).running().ended(0, 137).next()
    job = job.lost(1, code=20).without(0)
    job = job.with_status(job.decide().status)
    job = job.reports(1, "training", 2).next(5)
    assert [m.slot for m in job.status.ring.members] == [1]
    job = job.with_workers(*job.workers, a_worker(0, 1)).with_spec(workers=1)
    ring = job.decide(6).status.ring
    assert ([m.slot for m in ring.members], ring.after_step) == ([0, 1], True)
    grown = job.next(6).reports(0, "training", 3).reports(1, "training", 3).next(7)
    ring = grown.decide(8).status.ring
    assert [m.slot for m in ring.members] == [0]


def test_a_slot_that_comes_back_has_a_new_name():
    job = a_job(3, elastic=Elastic(min_workers=1)).running().with_spec(workers=2).next().without(2)
    plan = job.with_spec(workers=3).decide()
    created = [a for a in plan.actions if type(a).__name__ == "CreateWorker"]
    assert [(a.slot, a.incarnation) for a in created] == [(2, 1)]


# Size.


def test_how_long_it_was_in_each_phase_is_kept():
    job = a_job(2).running()
    since = job.status.phase_since
    suspended = job.with_spec(suspend=True).next(70)
    assert job.status.phase == "Running"
    assert suspended.status.phase == "Suspended"
    assert suspended.status.phase_seconds["Running"] == NOW + 70 - from_rfc3339(since)
    again = suspended.without(0).without(1).with_spec(suspend=False).next(100)
    assert again.status.phase_seconds["Suspended"] == 30
    assert again.status.phase_seconds["Running"] == suspended.status.phase_seconds["Running"]


def test_the_status_of_a_thousand_workers_is_bounded():
    """All replaced a hundred times, with whole IPv6 addresses; the longest words in all that has words, in a script
    that takes three bytes a character; a hundred metrics."""
    long = "語" * 100_000
    job = a_job(1024, max_restarts=10_000).ready()
    hosts = [f"2001:0db8:85a3:08d3:1319:8a2e:{slot:04x}:7344" for slot in range(1024)]
    workers = [a_worker(slot, 100, endpoint=Endpoint(host, 8470, 8480)) for slot, host in enumerate(hosts)]
    status = job.status.model_copy(update={"slots": tuple(SlotStatus(slot=s, incarnation=100) for s in range(1024))})
    job = job.with_status(status).with_workers(*workers).next()
    assert len(job.status.ring.members) == 1024
    said = dataclasses.replace(progress(7), metrics=tuple(Metric(long, long) for _ in range(100)))
    report = WorkerReport(0, 100, revision=job.status.ring.revision, state="training", progress=said)
    job = job.with_workers(dataclasses.replace(workers[0], report=report), *workers[1:]).next()
    assert len(job.status.progress.metrics) == 32
    draft = Draft(job.seen(), NOW, Settings())
    draft.set(workers=draft.status.workers.model_copy(update={"done": tuple(range(1024))}))
    for type_ in ConditionType:
        draft.condition(type_, True, Reason.STORAGE_ERROR, long)
    for slot in range(9):
        failure = FailureStatus(worker=slot, pod="p" * 253, node="n" * 253, reason="StorageError", message=long)
        draft.add_failure(failure)
    assert stored_bytes(draft.status) < 256 * 1024


def test_that_of_a_usual_one_is_smaller():
    """A thousand workers, each replaced once, with IPv4 addresses."""
    job = a_job(1000, max_restarts=10_000).ready()
    workers = [a_worker(s, 1, endpoint=Endpoint(f"10.101.{s // 250}.{s % 250}", 8470, 8480)) for s in range(1000)]
    status = job.status.model_copy(update={"slots": tuple(SlotStatus(slot=s, incarnation=1) for s in range(1000))})
    job = job.with_status(status).with_workers(*workers).next()
    assert len(job.status.ring.members) == 1000
    assert stored_bytes(job.status) < 100 * 1024


def stored_bytes(status) -> int:
    """As the API server stores it."""
    data = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return len(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode())
