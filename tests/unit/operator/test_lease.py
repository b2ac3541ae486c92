"""Which operator acts, by a clock of the tests'."""

import asyncio

import pytest

from kerasjob_operator.api_client import ApiError
from kerasjob_operator.lease import LEASE_SECONDS, RENEW_SECONDS, Lease


class Server:
    """Keeps one Lease as the API server does, and may be away."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.away = set()  # identities that cannot reach it

    def of(self, identity):
        return Client(self, identity)


class Client:
    def __init__(self, server, identity):
        self._server, self._identity = server, identity

    def _reach(self):
        if self._identity in self._server.away:
            raise ApiError(0, "Unreachable", "no route")

    async def get(self, _resource, _namespace, _name):
        self._reach()
        if self._server.lease is None:
            raise ApiError(404, "NotFound", "leases not found")
        return self._server.lease

    async def create(self, _resource, _namespace, body):
        self._reach()
        if self._server.lease is not None:
            raise ApiError(409, "AlreadyExists", "it is there")
        self._keep(body)

    async def replace(self, _resource, _namespace, _name, body):
        self._reach()
        if body["metadata"].get("resourceVersion") != self._server.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "it has changed")
        self._keep(body)

    def _keep(self, body):
        self._server.version += 1
        body["metadata"]["resourceVersion"] = str(self._server.version)
        self._server.lease = body


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def make(server, now):
    return lambda identity: Lease(server.of(identity), "ns", identity, clock=lambda: now[0])


async def rounds(now, seconds, *leases):
    """One round of each a second, as far as they reach the server; who held it in each, by index."""
    held = []
    for _ in range(seconds):
        for lease in leases:
            try:
                await lease.round()
            except ApiError:
                continue
        held.append([index for index, lease in enumerate(leases) if lease.is_held()])
        now[0] += 1
    return held


async def test_one_of_two_holds_it_and_goes_on_holding_it(make, now):
    held = await rounds(now, 30, make("a"), make("b"))
    assert held == [[0]] * 30


async def test_another_one_takes_over_when_the_first_is_gone(make, now, server):
    first, second = make("a"), make("b")
    await rounds(now, 3, first, second)
    server.away = {"a"}
    held = await rounds(now, 15, first, second)
    assert [] in held, "first nobody holds it"
    assert all(len(now_held) <= 1 for now_held in held), "and never two"
    assert held.index([1]) <= LEASE_SECONDS + 1
    assert held[-1] == [1]
    server.away = set()
    assert (await rounds(now, 5, first, second)) == [[1]] * 5, "who comes back waits"
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_who_cannot_renew_stops_before_another_may_begin(make, now, server):
    first = make("a")
    await first.round()
    now[0] += RENEW_SECONDS + 0.1
    assert not first.is_held()
    assert RENEW_SECONDS + 2 <= LEASE_SECONDS


async def test_who_waits_counts_from_the_answer_and_not_from_the_question(make, now, server, monkeypatch):
    """The holder may renew the Lease while a slow request for it is under way."""
    first, second = make("a"), make("b")
    await first.round()
    get = second._api.get

    async def slowly(*arguments):
        now[0] += 4
        await first.round()
        return await get(*arguments)

    monkeypatch.setattr(second._api, "get", slowly)
    await second.round()
    monkeypatch.setattr(second._api, "get", get)
    now[0] += RENEW_SECONDS - 0.5
    await second.round()
    assert first.is_held()
    assert not second.is_held(), "eight seconds after it asked, less than five after it was answered"


async def test_a_lease_that_is_given_back_is_taken_at_once(make, now, server):
    first, second = make("a"), make("b")
    await rounds(now, 2, first, second)
    await first.release()
    assert not first.is_held()
    assert await rounds(now, 1, second) == [[0]]


async def test_who_begins_again_under_its_name_has_it_at_once(make, now):
    await rounds(now, 2, make("a"))
    assert await rounds(now, 1, make("a")) == [[0]]


async def test_of_two_that_find_none_one_makes_it(make, server):
    first, second = make("a"), make("b")
    await asyncio.gather(first.round(), second.round())
    assert [first.is_held(), second.is_held()].count(True) == 1


async def test_one_that_was_stopped_in_its_sleep_does_not_believe_it_leads(make, now, server):
    """SIGSTOP, a suspended virtual machine: when it goes on its time is over."""
    first, second = make("a"), make("b")
    await rounds(now, 2, first, second)
    await rounds(now, 20, second)
    assert not first.is_held()
    await first.round()
    assert not first.is_held()


async def test_it_is_told_when_it_leads(server):
    told = []
    lease = Lease(server.of("a"), "ns", "a", on_acquired=lambda: told.append(True))
    running = asyncio.create_task(lease.run())
    await asyncio.wait_for(lease.until_held(), 5)
    running.cancel()
    assert told == [True]
