"""Who is asked how often, and that a slow agent delays no other."""

import asyncio

import pytest
from tests.unit.operator.test_store import KEY, job, pod

from kerasjob_api.wire import WorkerReport
from kerasjob_core.cluster import Unavailable
from kerasjob_operator.agents import SaysNo
from kerasjob_operator.poller import Poller
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

RING = {"revision": 1, "members": [
    {"slot": slot, "incarnation": 0, "host": f"10.0.0.{slot}", "agentPort": 8470, "port": 8481} for slot in (0, 1)
]}  # fmt: skip
TRAINS = {"ring": RING, "conditions": [
    {"type": "Ready", "status": "True", "reason": "RingFormed", "lastTransitionTime": "2026-01-01T00:00:00Z"}
]}  # fmt: skip


class FakeAgents:
    """Answers by address; an address in `slow` never answers."""

    def __init__(self):
        self.asked = []
        self.slow = set()
        self.state, self.revision = "training", 1
        self.error = Unavailable("nobody there")  # where `state` is None

    async def report(self, endpoint, _uid):
        self.asked.append(endpoint.host)
        if endpoint.host in self.slow:
            await asyncio.Event().wait()
        if self.state is None:
            raise self.error
        return WorkerReport(int(endpoint.host[-1]), 0, self.revision, self.state)


@pytest.fixture
def agents():
    return FakeAgents()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def store(changes):
    store = Store("image", changes.append)
    for slot in (0, 1):
        body = pod(slot=slot, uid=f"p{slot}")
        body["status"] |= {"podIP": f"10.0.0.{slot}"}
        store.put_pod(body)
    return store


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def poller(store, agents, clock):
    poller = Poller(store, agents, OperatorSettings(), lambda: clock[0])
    before = store.on_change

    def changed(key):
        before(key)
        poller.touch(key)

    store.on_change = changed
    return poller


async def round_of(poller, agents):
    """The addresses that one round asks."""
    agents.asked.clear()
    await asyncio.gather(*poller.round())
    return sorted(agents.asked)


async def test_all_workers_of_a_job_that_does_not_train_are_asked(store, poller, agents, clock):
    store.put_job(job())
    for clock[0] in (0.0, 1.0, 2.0):
        assert await round_of(poller, agents) == ["10.0.0.0", "10.0.0.1"]


async def test_only_the_leader_of_a_job_that_trains_is_asked(store, poller, agents, clock):
    """Also of one of which nothing is known yet, unless it does not answer."""
    store.put_job(job(**TRAINS))
    assert await round_of(poller, agents) == ["10.0.0.0"]
    clock[0] = 1.0
    assert await round_of(poller, agents) == ["10.0.0.0"]


async def test_of_one_that_trains_all_are_asked_where_the_leader_has_never_answered(store, poller, agents, clock):
    store.put_job(job(**TRAINS))
    agents.state = None
    assert await round_of(poller, agents) == ["10.0.0.0"]
    clock[0] = 1.0
    assert await round_of(poller, agents) == ["10.0.0.0", "10.0.0.1"]


async def test_all_are_asked_again_once_the_leader_does_not_train(store, poller, agents, clock):
    store.put_job(job(**TRAINS))
    await round_of(poller, agents)
    agents.state = "lost"
    for clock[0], expected in ((1.0, ["10.0.0.0"]), (2.0, ["10.0.0.0", "10.0.0.1"])):
        assert await round_of(poller, agents) == expected


async def test_nobody_of_a_job_that_has_ended_is_asked(store, poller, agents):
    done = [{"type": "Complete", "status": "True", "reason": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    store.put_job(job(conditions=done))
    assert await round_of(poller, agents) == []


async def test_a_slow_agent_delays_no_other_and_is_asked_once_at_a_time(store, poller, agents, clock):
    store.put_job(job())
    agents.slow = {"10.0.0.0"}
    for clock[0] in (0.0, 1.0, 2.0):
        begun = poller.round()
        await asyncio.sleep(0)
        await asyncio.wait(begun, timeout=0.05)
    assert sorted(agents.asked) == ["10.0.0.0", "10.0.0.1", "10.0.0.1", "10.0.0.1"]
    assert store.observe(KEY).workers[1].report.state == "training"
    for task in list(poller._asked.values()):
        task.cancel()


async def test_a_report_makes_its_job_due_when_it_is_news(store, poller, agents, clock, changes):
    store.put_job(job())
    await round_of(poller, agents)
    changes.clear()
    clock[0] = 1.0
    await round_of(poller, agents)
    assert changes == []
    agents.state, clock[0] = "lost", 2.0
    await round_of(poller, agents)
    assert changes == [KEY, KEY]


async def test_an_agent_that_can_be_reached_again_gets_its_ring_at_once(store, poller, agents, clock, changes):
    store.put_job(job(ring=RING))
    agents.revision = 0
    await round_of(poller, agents)
    changes.clear()
    clock[0] = 1.0
    await round_of(poller, agents)
    assert KEY in changes


async def test_silence_is_no_news(store, poller, agents, changes):
    store.put_job(job())
    changes.clear()
    agents.state = None
    await round_of(poller, agents)
    assert changes == []


@pytest.mark.parametrize(("error", "is_silent"), [(Unavailable("nobody there"), True), (SaysNo("503"), False)])
async def test_who_says_no_from_the_beginning_can_be_reached(store, poller, agents, error, is_silent):
    body = pod(2, uid="p0")
    body["status"] |= {"podIP": "10.0.0.0", "conditions": [{"type": "Ready", "status": "True"}]}
    store.put_pod(body)
    store.put_job(job(ring=RING))
    agents.state, agents.error = None, error
    await round_of(poller, agents)
    assert "10.0.0.0" in agents.asked
    (worker,) = (worker for worker in store.workers(KEY) if worker.slot == 0)
    assert (worker.silent_since is not None) == is_silent


async def test_an_agent_that_answers_no_more_is_silent_until_it_does_and_all_are_asked(store, agents, poller, clock):
    store.put_job(job(**TRAINS))
    await asyncio.gather(*poller.round())
    agents.state = None
    clock[0] += 60
    await asyncio.gather(*poller.round())
    leader, other = sorted(store.workers(KEY), key=lambda worker: worker.slot)
    assert leader.silent_since is not None
    assert other.silent_since is None
    agents.asked.clear()
    agents.state = "training"
    clock[0] += 60
    await asyncio.gather(*poller.round())
    assert sorted(agents.asked) == ["10.0.0.0", "10.0.0.1"]
    assert [worker.silent_since for worker in store.workers(KEY)] == [None, None]


async def test_one_that_was_silent_is_asked_until_it_answers_though_the_leader_trains(store, agents, poller, clock):
    store.put_job(job(ring=RING))
    await asyncio.gather(*poller.round())
    store.put_job(job(2, **TRAINS))
    store.put_silence(KEY, "m-1-0", 1.0)
    clock[0] += 60
    assert await round_of(poller, agents) == ["10.0.0.0", "10.0.0.1"]
    assert [worker.silent_since for worker in store.workers(KEY)] == [None, None]
    clock[0] += 60
    assert await round_of(poller, agents) == ["10.0.0.0"]


async def test_one_that_has_never_answered_is_not_silent(store, agents, poller):
    store.put_job(job(**TRAINS))
    agents.state = None
    await asyncio.gather(*poller.round())
    assert [worker.silent_since for worker in store.workers(KEY)] == [None, None]


async def test_one_that_is_ready_and_has_never_answered_is_silent(store, agents, poller):
    store.put_job(job(ring=RING))
    body = pod(2, slot=0, uid="p0")
    body["status"] |= {"podIP": "10.0.0.0", "conditions": [{"type": "Ready", "status": "True"}]}
    store.put_pod(body)
    agents.state = None
    await asyncio.gather(*poller.round())
    ready, other = sorted(store.workers(KEY), key=lambda worker: worker.slot)
    assert ready.silent_since is not None
    assert other.silent_since is None


async def test_before_there_is_a_ring_only_those_that_are_not_ready_are_asked(store, agents, poller):
    store.put_job(job())
    body = pod(2, slot=0, uid="p0")
    body["status"] |= {"podIP": "10.0.0.0", "conditions": [{"type": "Ready", "status": "True"}]}
    store.put_pod(body)
    await asyncio.gather(*poller.round())
    assert agents.asked == ["10.0.0.1"]


async def test_no_more_are_asked_at_once_than_can_be(store, agents, poller, monkeypatch):
    monkeypatch.setattr("kerasjob_operator.poller.AT_ONCE", 0)
    store.put_job(job(**TRAINS))
    assert poller.round() == []
    monkeypatch.setattr("kerasjob_operator.poller.AT_ONCE", 8)
    assert poller.round() != [], "who was left out is due at once"
    await asyncio.gather(*poller.round())


async def test_what_goes_wrong_is_not_left_for_as_long_as_what_trains(store, agents, poller, clock, monkeypatch):
    monkeypatch.setattr("kerasjob_operator.poller.LEADERS_PER_SECOND", 0.05)  # as with thousands of jobs
    store.put_job(job(**TRAINS))
    await asyncio.gather(*poller.round())
    clock[0] += 1
    assert await round_of(poller, agents) != [], "until it is known that it trains it is asked often"
    clock[0] += 5
    assert await round_of(poller, agents) == []
    store.put_job(job(2, ring=RING, conditions=[]))
    clock[0] += 1
    assert sorted(await round_of(poller, agents)) == ["10.0.0.0", "10.0.0.1"]
