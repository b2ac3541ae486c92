"""Going on with fewer workers, and taking in those that come back."""

from dataclasses import replace

import pytest
from tests.unit.core.builders import NOW, a_job, a_report, a_worker

from kerasjob_api.spec import Elastic
from kerasjob_core.plan import CreateWorker, PushRing
from kerasjob_core.times import from_rfc3339
from kerasjob_core.validate import parse_spec


def elastic(wait_seconds=60, workers=3, **more):
    return a_job(workers, elastic=Elastic(min_workers=2, wait_seconds=wait_seconds), **more)


def shrunk(wait_seconds=60):
    """Trains with two of three."""
    job = elastic(wait_seconds).running().ended(2, 137).next().lost(0, code=20).lost(1, code=20).without(2)
    job = job.with_status(job.decide(wait_seconds).status)
    workers = tuple(replace(w, report=a_report(w, 2)) for w in job.workers)
    job = replace(job, workers=workers)
    return job.with_status(job.decide(wait_seconds + 5).status)


def members(plan):
    return [(m.slot, m.incarnation) for m in plan.status.ring.members]


def test_a_lost_worker_is_waited_for_and_then_gone_on_without():
    lost = elastic().running().ended(2, 137).next().lost(0, code=20).lost(1, code=20).without(2)
    early = lost.decide(20)
    assert early.status is None or early.status.ring.broken
    assert early.requeue_after == 40
    plan = lost.decide(60)
    assert (plan.status.ring.revision, members(plan)) == (2, [(0, 0), (1, 0)])
    assert not plan.status.ring.after_step
    on = lost.with_status(plan.status)
    assert CreateWorker(2, 1) in on.decide(61).actions, "the lost one is replaced all the same"


def test_at_once_where_nothing_is_waited_for():
    lost = elastic(0).running().ended(2, 137).next().lost(0, code=20).lost(1, code=20).without(2)
    assert members(lost.decide()) == [(0, 0), (1, 0)]


def test_the_loss_of_the_first_worker_makes_the_next_one_the_first():
    lost = elastic(0).running().ended(0, 137).next().lost(1, code=20).lost(2, code=20).without(0)
    assert members(lost.decide()) == [(1, 0), (2, 0)]


def test_never_with_fewer_than_the_least():
    lost = elastic(0).running().ended(1, 137).ended(2, 137).next().lost(0, code=20).without(1).without(2)
    plan = lost.decide(100_000)
    assert plan.status is None or plan.status.ring.broken


def test_without_elastic_all_are_waited_for():
    lost = a_job(3).running().ended(2, 137).next().lost(0, code=20).lost(1, code=20).without(2)
    plan = lost.decide(100_000)
    assert plan.status is None or plan.status.ring.broken


def test_a_job_begins_with_fewer_where_the_others_cannot_be_had():
    job = elastic().accepted()
    job = replace(job, workers=tuple(a_worker(slot) for slot in range(2)))
    assert job.decide(59).status is None or job.decide(59).status.ring is None
    assert members(job.decide(60)) == [(0, 0), (1, 0)]


def test_a_small_ring_says_so_and_that_it_will_grow():
    job = shrunk()
    ready = job.status.condition("Ready")
    assert ready.status == "True"
    assert "trains with 2 of 3 workers; the others are taken in once they are there" in ready.message
    assert (job.status.phase, job.status.display.workers) == ("Running", "2/3")


def test_it_grows_once_all_are_there_again_after_a_step_that_is_saved():
    job = shrunk()
    back = replace(job, workers=(*job.workers, a_worker(2, 1)))
    plan = back.decide(70)
    assert (plan.status.ring.revision, members(plan)) == (3, [(0, 0), (1, 0), (2, 1)])
    assert plan.status.ring.after_step
    assert (plan.status.restarts, plan.status.disruptions) == (1, 0), "to grow is no restart"
    assert plan.status.condition("Ready").reason == "RingGrows"
    assert [event.reason for event in plan.events] == ["RingGrows"]
    pushes = [a for a in back.with_status(plan.status).decide(70).actions if isinstance(a, PushRing)]
    assert len(pushes) == 3
    assert all(push.ring.after_step for push in pushes)


def test_where_only_some_come_back_they_are_taken_in_after_a_while():
    job = elastic(30, workers=4).accepted()
    job = replace(job, workers=tuple(a_worker(slot) for slot in range(2)))
    job = job.with_status(job.decide(30).status)
    job = replace(job, workers=tuple(replace(w, report=a_report(w, 1)) for w in job.workers))
    job = job.with_status(job.decide(35).status)
    ready_since = from_rfc3339(job.status.condition("Ready").last_transition_time) - NOW
    back = replace(job, workers=(*job.workers, a_worker(3)))
    early = back.decide(ready_since + 10)
    assert early.status is None or early.status.ring.revision == 1
    assert early.requeue_after == 20
    assert members(back.decide(ready_since + 30)) == [(0, 0), (1, 0), (3, 0)]


def test_it_does_not_grow_while_a_member_is_being_lost():
    job = shrunk()
    back = replace(job, workers=(*job.workers, a_worker(2, 1))).worker(1, ready=False)
    plan = back.decide(1000)
    assert plan.status is None or plan.status.ring.revision == 2


@pytest.mark.parametrize("state", ["training", "forming"])
def test_a_loss_while_it_grows_is_counted_once(state):
    job = shrunk()
    back = replace(job, workers=(*job.workers, a_worker(2, 1)))
    growing = back.with_status(back.decide(70).status)
    assert growing.reports(1, state, revision=2).decide(71).status is None
    status = growing.ended(1, 137).decide(71).status
    assert (status.restarts, status.ring.broken) == (2, True)


def test_what_the_server_cannot_see_is_said_too():
    spec, faults = parse_spec({"program": {"script": "a"}, "workers": 2, "elastic": {"minWorkers": 3}})
    assert (spec, faults) == (None, ("spec.elastic.minWorkers: at most spec.workers, which is 2, got 3",))
    assert parse_spec({"program": {"script": "a"}, "workers": 3, "elastic": {"minWorkers": 3}})[1] == ()


def test_a_program_that_ends_before_the_larger_ring_is_taken_has_ended():
    """Its leader is the first of the smaller one, whatever its rank is to be."""
    job = elastic(0).running().ended(0, 137).next().lost(1, code=20).lost(2, code=20).without(0)
    job = job.with_status(job.decide().status)
    job = job.with_workers(*(replace(w, report=a_report(w, 2)) for w in job.workers)).next(5)
    assert job.status.phase == "Running"
    job = job.with_workers(*job.workers, a_worker(0, 1)).next(6)
    assert [m.slot for m in job.status.ring.members] == [0, 1, 2]
    assert job.ended(2, 0).decide(7).status is None, "that is no leader's word"
    assert job.ended(1, 0).decide(7).status.phase == "Succeeded"


def test_a_member_that_is_done_before_it_takes_the_larger_ring_is_missed():
    job = elastic(0).running().ended(0, 137).next().lost(1, code=20).lost(2, code=20).without(0)
    job = job.with_status(job.decide().status)
    job = job.with_workers(*(replace(w, report=a_report(w, 2)) for w in job.workers)).next(5)
    job = job.with_workers(*job.workers, a_worker(0, 1)).next(6)
    done = job.ended(2, 0)
    assert done.decide(7).status is None, "nobody waits for it yet, as far as is known"
    status = done.reports(0, "forming", 3).decide(7).status
    assert (status.ring.broken, status.restarts) == (True, 2)
