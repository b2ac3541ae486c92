"""What every body of the port `Cluster` must do. `after each call observe already shows the answer`."""

from dataclasses import replace

import pytest
from tests.contract.bodies import Local, Simulated

from kerasjob_api.status import KerasJobStatus
from kerasjob_api.wire import Member, Ring
from kerasjob_core.cluster import Conflict, NotFound, Unavailable
from kerasjob_core.observed import JobRef
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteWorker, EnsureBase, PushRing


@pytest.fixture(params=[Simulated, Local])
def body(request, tmp_path):
    body = request.param(tmp_path)
    yield body
    body.close()


@pytest.fixture
async def started(body):
    """A body with the base and worker 0."""
    job = body.seen().job
    await body.cluster.ensure_base(job, EnsureBase("image", 7))
    await body.cluster.create_worker(job, CreateWorker(0, 0))
    return body


def ring_of(body, revision=1):
    """A ring of the one worker there is."""
    worker = body.seen().workers[0]
    end = worker.endpoint
    member = Member(worker.slot, worker.incarnation, end.host, end.agent_port, end.tf_port_base + revision)
    return Ring(body.seen().job.ref.uid, revision, (member,))


def push(body, ring):
    worker = body.seen().workers[0]
    return PushRing(worker.name, worker.endpoint, ring)


async def write_ring(body, ring):
    """A ring is in status before it is pushed."""
    members = [vars(member) for member in ring.members]
    status = KerasJobStatus.model_validate({"ring": {"revision": ring.revision, "members": members}})
    await body.cluster.write_status(body.seen().job, status)


async def is_ready(body):
    await body.until(lambda seen: seen.workers and seen.workers[0].ready)


async def test_an_unknown_job_is_none(body):
    assert body.cluster.observe("default", "another") is None


async def test_a_new_job_has_nothing(body):
    seen = body.seen()
    assert seen.workers == ()
    assert not seen.base_present
    assert seen.job.status == KerasJobStatus()


async def test_a_written_status_is_seen_under_a_new_version(body):
    before = body.seen().job
    await body.cluster.write_status(before, KerasJobStatus(phase="Pending"))
    after = body.seen().job
    assert after.status.phase == "Pending"
    assert after.resource_version != before.resource_version


async def test_a_status_for_an_older_version_is_a_conflict_and_changes_nothing(body):
    stale = body.seen().job
    await body.cluster.write_status(stale, KerasJobStatus(phase="Pending"))
    with pytest.raises(Conflict):
        await body.cluster.write_status(stale, KerasJobStatus(phase="Running"))
    assert body.seen().job.status.phase == "Pending"
    await body.cluster.write_status(body.seen().job, KerasJobStatus(phase="Starting"))


async def test_a_status_for_another_uid_is_not_found(body):
    job = body.seen().job
    with pytest.raises(NotFound):
        await body.cluster.write_status(replace(job, ref=JobRef("default", job.ref.name, "other")), KerasJobStatus())


async def test_the_base_is_there_once_it_was_made_and_may_be_made_again(body):
    for _ in range(2):
        await body.cluster.ensure_base(body.seen().job, EnsureBase("image", 7))
        assert body.seen().base_present


async def test_a_worker_is_made_once(started):
    (first,) = started.seen().workers
    assert (first.name, first.slot, first.incarnation) == (f"{started.name}-0-0", 0, 0)
    await started.cluster.create_worker(started.seen().job, CreateWorker(0, 0))
    (second,) = started.seen().workers
    assert second.uid == first.uid


async def test_another_incarnation_is_another_worker(started):
    await started.cluster.create_worker(started.seen().job, CreateWorker(0, 1))
    names = {worker.name for worker in started.seen().workers}
    assert names == {f"{started.name}-0-0", f"{started.name}-0-1"}


async def test_a_deleted_worker_is_seen_to_go_and_a_gone_one_is_no_error(started):
    await is_ready(started)
    (worker,) = started.seen().workers
    action = DeleteWorker(worker.name, worker.uid)
    await started.cluster.delete_worker(started.seen().job, action)
    assert all(worker.deleting for worker in started.seen().workers)
    await started.until(lambda seen: all(worker.has_ended for worker in seen.workers))
    await started.cluster.delete_worker(started.seen().job, action)
    await started.cluster.delete_worker(started.seen().job, DeleteWorker("never-0-0", "x"))


async def test_a_worker_of_another_uid_is_not_deleted(started):
    (worker,) = started.seen().workers
    await started.cluster.delete_worker(started.seen().job, DeleteWorker(worker.name, "another"))
    assert not started.seen().workers[0].deleting


async def test_only_what_is_absent_is_confirmed_absent(started):
    job = started.seen().job
    here, gone = f"{started.name}-0-0", f"{started.name}-1-0"
    await started.cluster.confirm_absent(job, ConfirmAbsent(here))
    await started.cluster.confirm_absent(job, ConfirmAbsent(gone))
    assert started.seen().confirmed_absent == {gone}
    await started.cluster.create_worker(job, CreateWorker(1, 0))
    assert started.seen().confirmed_absent == frozenset()


async def test_a_pushed_ring_is_seen_in_the_workers_report(started):
    await is_ready(started)
    ring = ring_of(started)
    await write_ring(started, ring)
    for _ in range(2):  # the same revision twice is no fault
        await started.cluster.push_rings(started.seen().job, [push(started, ring)])
        assert started.seen().workers[0].report.revision == 1


async def test_a_ring_for_nobody_is_unavailable(started):
    await is_ready(started)
    ring = ring_of(started)
    await write_ring(started, ring)
    action = push(started, ring)
    (worker,) = started.seen().workers
    await started.cluster.delete_worker(started.seen().job, DeleteWorker(worker.name, worker.uid))
    await started.until(lambda seen: all(w.has_ended for w in seen.workers))
    with pytest.raises(Unavailable):
        await started.cluster.push_rings(started.seen().job, [action])
