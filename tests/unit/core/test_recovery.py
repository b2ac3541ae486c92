"""What a loss is counted as, and what follows: the table of evidence."""

import pytest
from tests.unit.core.builders import NOW, a_job, a_report, a_worker

from kerasjob_api.spec import Scheduling
from kerasjob_api.spec_failure import FailurePolicy, FailureRule
from kerasjob_api.status import SlotStatus
from kerasjob_api.wire import FailureRecord
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteWorker, Plan
from kerasjob_core.times import from_rfc3339

RUNNING = a_job(2).running()
PREEMPTED = FailureRecord("Preempted", "told to stop")

EVIDENCE = [
    # what is seen of worker 1                                     restarts  disruptions  reason
    ("a deleted pod", lambda j: j.worker(1, deleting=True), 0, 1, "WorkerDisrupted"),
    ("a deleted pod that said preempted", lambda j: j.ended(1, 30, PREEMPTED, deleting=True), 0, 1, "WorkerDisrupted"),
    ("a drained pod", lambda j: j.ended(1, 30, disruption="EvictionByEvictionAPI"), 0, 1, "WorkerDisrupted"),
    (
        "a drained pod that was killed",
        lambda j: j.ended(1, 137, disruption="PreemptionByScheduler"),
        0,
        1,
        "WorkerDisrupted",
    ),
    ("a killed container", lambda j: j.ended(1, 137), 1, 0, "WorkerLost"),
    ("out of memory", lambda j: j.ended(1, 137, reason="OOMKilled"), 1, 0, "OutOfMemory"),
    ("a segmentation fault", lambda j: j.ended(1, 139), 1, 0, "WorkerLost"),
    ("preempted without evidence", lambda j: j.ended(1, 30, PREEMPTED), 1, 0, "Preempted"),
    ("a store fault", lambda j: j.ended(1, 22), 1, 0, "StorageError"),
    ("a cluster fault of the agent", lambda j: j.ended(1, 20), 1, 0, "ClusterFault"),
]


@pytest.mark.parametrize(
    ("make", "restarts", "disruptions", "reason"), [e[1:] for e in EVIDENCE], ids=[e[0] for e in EVIDENCE]
)
def test_a_lost_pod_is_counted_by_its_evidence_and_replaced_in_the_next_pass(make, restarts, disruptions, reason):
    job = make(RUNNING)
    plan = job.decide()
    status = plan.status
    assert (status.restarts, status.disruptions) == (restarts, disruptions)
    assert status.slots == (SlotStatus(slot=1, incarnation=1),)
    assert status.ring.broken
    assert status.phase == "Restarting"
    assert (status.last_failure.worker, status.last_failure.pod) == (1, "mnist-1-0")
    assert status.last_failure.reason == reason
    assert plan.actions == (), "what was counted is written before it is acted on"
    assert job.with_status(status).decide().actions == (CreateWorker(1, 1),)


def test_a_pod_that_vanished_is_looked_for_before_its_loss_is_believed():
    job = RUNNING.without(1)
    plan = job.decide()
    assert plan.actions == (ConfirmAbsent("mnist-1-0"),)
    assert plan.status is None or plan.status.disruptions == 0
    confirmed = job.but(confirmed_absent=frozenset({"mnist-1-0"})).decide()
    assert (confirmed.status.restarts, confirmed.status.disruptions) == (0, 1)
    assert confirmed.status.slots == (SlotStatus(slot=1, incarnation=1),)


def test_a_trainer_killed_by_a_signal_is_a_restart_in_place():
    plan = RUNNING.lost(1, signal=9).lost(0, code=20).decide()
    assert (plan.status.restarts, plan.status.slots) == (1, ())
    assert plan.status.last_failure.message == "the trainer was killed by signal 9"
    assert plan.status.last_failure.worker == 1
    assert (plan.status.ring.revision, plan.status.ring.broken) == (2, False)
    assert plan.actions == ()


def test_a_stalled_trainer_is_a_restart_in_place():
    plan = RUNNING.lost(0, code=21, message="no step for 600 s").decide()
    assert (plan.status.restarts, plan.status.last_failure.reason) == (1, "Stalled")


def test_one_that_lost_its_peers_waits_until_it_shows_who_is_to_blame():
    plan = RUNNING.lost(0, code=20).decide()
    assert plan.status is None
    assert plan.actions == ()


def test_when_all_lost_their_peers_one_restart_is_counted():
    plan = RUNNING.lost(0, code=20).lost(1, code=20).decide()
    assert plan.status.restarts == 1
    assert plan.status.last_failure.reason == "ClusterFault"


def test_one_that_lost_peers_who_are_done_does_not_wait_for_ever():
    plan = RUNNING.ended(1, 0).lost(0, code=20, message="peer gone").decide()
    assert plan.status.restarts == 1
    after = RUNNING.ended(1, 0).lost(0, code=20).with_status(plan.status).next()
    assert after.status.slots == (SlotStatus(slot=1, incarnation=1),)
    assert after.decide().actions == (CreateWorker(1, 1),)


DONE = RUNNING.ended(1, 0).next(5)


def test_a_member_that_is_done_and_whose_pod_is_collected_is_no_loss():
    for seen in (DONE.worker(1, deleting=True), DONE.worker(1, disruption="EvictionByEvictionAPI"), DONE.without(1)):
        plan = seen.decide(20)
        assert (plan.status, plan.actions) == (None, ())
    assert DONE.without(1).ended(0, 0).decide(20).status.workers.succeeded == 2


def test_once_its_ring_breaks_it_is_missed():
    job = DONE.without(1).ended(0, 137).next(20)
    assert (job.status.restarts, job.status.workers.done) == (1, (1,))
    job = job.but(confirmed_absent=frozenset({"mnist-1-0"})).next(21)
    assert (job.status.restarts, job.status.disruptions, job.status.workers.done) == (1, 0, ())
    assert [a for a in job.without(0).decide(21).actions if isinstance(a, CreateWorker)] == [
        CreateWorker(0, 1),
        CreateWorker(1, 1),
    ]


def test_one_that_lost_peers_who_are_done_and_collected_does_not_wait_for_ever():
    plan = DONE.without(1).lost(0, code=20, message="peer gone").decide(20)
    assert plan.status.restarts == 1


def test_what_follows_a_counted_loss_is_not_counted():
    job = RUNNING.worker(1, deleting=True).next()
    followed = job.without(1).ended(0, 20)
    status = followed.decide().status
    assert (status.restarts, status.disruptions) == (0, 1)
    assert status.slots == (SlotStatus(slot=0, incarnation=1), SlotStatus(slot=1, incarnation=1))


def test_two_lost_at_once_are_one():
    status = RUNNING.ended(0, 137).ended(1, 137).decide().status
    assert status.restarts == 1
    assert len(status.slots) == 2


def test_a_report_of_an_older_ring_says_nothing_about_this_one():
    job = RUNNING.lost(1, signal=9).lost(0, code=20).next()
    assert job.status.ring.revision == 2
    assert [a.worker for a in job.decide().actions] == ["mnist-0-0", "mnist-1-0"]
    assert job.decide().status is None


def test_a_newcomer_that_fails_before_it_joins_is_counted_for_itself():
    job = RUNNING.ended(1, 137).next()
    newcomer = type(job)(job.spec, job.status, (*job.workers[:1], a_worker(1, 1)), job.extra).ended(1, 137)
    status = newcomer.decide().status
    assert status.restarts == 2
    assert status.slots == (SlotStatus(slot=1, incarnation=2),)


BAD_NODE = {"reason": "UnexpectedAdmissionError"}


def test_those_that_are_lost_before_there_is_a_ring_are_one_restart_however_many():
    job = a_job(4).ready()
    for slot in range(4):
        job = job.ended(slot, 137, **BAD_NODE)
    together = job.next()
    assert (together.status.phase, together.status.restarts, len(together.status.slots)) == ("Pending", 1, 4)
    one_by_one = a_job(4).ready().worker(3, ready=False)
    for slot in range(3):
        one_by_one = one_by_one.ended(slot, 137, **BAD_NODE).next(slot)
        assert one_by_one.status.restarts == 1
        assert one_by_one.status.losses.in_a_row == 1


def test_each_further_try_to_come_to_a_ring_is_one_more_and_is_waited_for_longer():
    job, later = a_job(2, max_restarts=2).ready(), 0
    for restarts in (1, 2, 3):
        made = [a_worker(slot, job.status.incarnation_of(slot)) for slot in range(2)]
        job = job.with_workers(*made).ended(0, 137).next(later).ended(1, 137).next(later + 1)
        assert job.status.restarts == restarts
        if restarts == 2:
            assert from_rfc3339(job.status.losses.retry_at) == NOW + later + 10
        later += 60
    assert job.status.condition("Failed").reason == "MaxRestartsExceeded"


def test_one_that_is_lost_after_a_ring_was_granted_is_counted_afresh():
    job = a_job(2).ready().ended(0, 137).next()
    ringed = job.with_workers(a_worker(0, 1), a_worker(1, 0)).next(5)
    assert ringed.status.ring.revision == 1
    assert ringed.ended(1, 137).next(6).status.restarts == 2


def test_any_of_those_that_are_lost_before_there_is_a_ring_may_end_the_job_by_rule():
    rule = FailureRule(action="FailJob", on_reasons=("OutOfMemory",))
    job = a_job(2).ready().with_spec(failure_policy=FailurePolicy(rules=(rule,)))
    assert job.ended(0, 137).ended(1, 137, reason="OOMKilled").decide().status.phase == "Failed"


def test_a_ring_waits_until_those_who_are_left_have_told_what_they_hold():
    job = RUNNING.lost(1, signal=9).next()
    assert (job.status.ring.revision, job.status.ring.broken) == (1, True)
    assert job.decide(4).requeue_after == 6
    assert job.lost(0, code=20).decide(4).status.ring.revision == 2
    assert job.decide(10).status.ring.revision == 2, "one that does not notice is not waited for any longer"


def test_a_replacement_joins_under_the_next_revision_and_the_same_rank():
    job = RUNNING.ended(1, 137).next().lost(0, code=20)
    joined = type(job)(job.spec, job.status, (*job.workers[:1], a_worker(1, 1)), job.extra)
    ring = joined.decide().status.ring
    assert (ring.revision, ring.port, [(m.slot, m.incarnation) for m in ring.members]) == (2, 8482, [(0, 0), (1, 1)])


def test_too_many_restarts_fail_the_job_and_name_the_last_failure():
    plan = RUNNING.restarts(3).ended(1, 137, reason="OOMKilled").decide()
    assert plan.status.phase == "Failed"
    failed = plan.status.condition("Failed")
    assert failed.reason == "MaxRestartsExceeded"
    assert "OutOfMemory" in failed.message
    assert plan.status.last_failure.reason == "OutOfMemory"


def test_with_no_restarts_allowed_the_first_one_fails_and_a_disruption_does_not():
    job = a_job(2, max_restarts=0).running()
    assert job.ended(1, 137).decide().status.phase == "Failed"
    assert job.worker(1, deleting=True).decide().status.phase == "Restarting"


def test_a_success_is_seen_before_a_loss():
    plan = RUNNING.ended(0, 0).ended(1, 137).decide()
    assert plan.status.phase == "Succeeded"
    assert plan.status.restarts == 0


def test_a_permanent_exit_of_a_pod_that_is_being_deleted_is_a_disruption():
    plan = RUNNING.ended(1, 10, deleting=True).decide()
    assert (plan.status.phase, plan.status.disruptions) == ("Restarting", 1)


def test_an_old_incarnation_left_over_is_no_news():
    job = RUNNING.ended(1, 137).next().lost(0, code=20)
    old, new = job.workers[1], a_worker(1, 1)
    joined = type(job)(job.spec, job.status, (job.workers[0], old, new), job.extra).next()
    workers = [(w.slot, w) for w in joined.workers if w is not old]
    trains = [type(w)(**{**w.__dict__, "report": a_report(w, 2)}) for _, w in workers]
    done = type(job)(job.spec, joined.status, (*trains, old), job.extra).next()
    assert done.status.phase == "Running"
    assert done.decide() == Plan()


def test_a_worker_that_nobody_reaches_is_replaced_and_is_a_disruption():
    lost = RUNNING.lost(0, code=20)
    assert lost.decide(5).status is None, "who is to blame will show"
    silent = lost.worker(1, silent_since=NOW + 3)
    waits = silent.decide(8)
    assert (waits.status, waits.requeue_after) == (None, 5)
    status = silent.decide(13).status
    assert (status.restarts, status.disruptions) == (0, 1)
    assert status.slots == (SlotStatus(slot=1, incarnation=1),)
    assert status.ring.broken
    assert "node node-1 is cut off or down" in status.last_failure.message


def test_an_agent_that_is_silent_while_its_ring_trains_is_left_alone():
    assert RUNNING.worker(1, silent_since=NOW).decide(1000).status is None
    assert RUNNING.worker(0, silent_since=NOW).worker(1, silent_since=NOW).decide(1000).status is None


def test_a_silent_worker_joins_no_ring():
    job = RUNNING.ended(1, 137).next().lost(0, code=20)
    joined = type(job)(job.spec, job.status, (*job.workers[:1], a_worker(1, 1, silent_since=NOW)), job.extra)
    plan = joined.decide()
    assert plan.status is None or plan.status.ring.broken


def test_what_was_replaced_goes_by_force_where_its_node_does_nothing():
    job = RUNNING.lost(0, code=20).worker(1, silent_since=NOW).next(20)
    old = job.workers[1]
    assert DeleteWorker(old.name, old.uid) in job.decide(20).actions
    dying = job.worker(1, deleting=True, deletion_due=NOW + 140)
    early = dying.decide(160)
    assert not [a for a in early.actions if isinstance(a, DeleteWorker)]
    assert early.requeue_after == 10
    assert DeleteWorker(old.name, old.uid, force=True) in dying.decide(171).actions


def test_after_a_loss_there_are_as_many_workers_again_as_a_gang_is_of():
    """A scheduler counts no pod that has ended: with one fewer than the gang's size it would place none."""
    gang = Scheduling(gang="Native")
    lost = a_job(4, success_policy="All", scheduling=gang).running().ended(1, 0).ended(2, 137).next().next()
    assert lost.decide().actions == (CreateWorker(1, 1), CreateWorker(2, 1))
