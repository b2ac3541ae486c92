"""All workers of a ring know at once that one is lost: real HTTP servers, and connections that end."""

import threading

import pytest

from kerasjob_api.wire import Member, Ring
from kerasjob_trainer.server import Refused, serve
from kerasjob_trainer.watch import GONE, Watch

SECONDS = 20


class Leader:
    """The part of the leader's agent that others ask."""

    def __init__(self) -> None:
        self.watches: dict[int, Watch] = {}
        self.is_lost = False
        self.asked = threading.Event()

    def watch(self, revision):
        self.asked.set()
        if self.is_lost:
            raise Refused(GONE, "lost")
        if revision not in self.watches:
            raise Refused(503, "not yet")
        return self.watches[revision]


class World:
    """A ring whose leader is a real server."""

    def __init__(self) -> None:
        self.leader = Leader()
        self.server = serve("127.0.0.1", 0, "token", self.leader)
        port = self.server.server_address[1]
        self.ring = Ring("uid", 3, tuple(Member(slot, 0, "127.0.0.1", port, 2) for slot in range(3)))
        self.told = [threading.Event() for _ in range(3)]

    def begin(self, rank: int) -> Watch:
        watch = Watch(self.ring, rank, "token", self.told[rank].set)
        if rank == 0:
            self.leader.watches[3] = watch
        return watch

    def begin_all(self, count) -> list[Watch]:
        watches = [self.begin(rank) for rank in range(3)]
        assert count.wait(SECONDS)
        return watches


@pytest.fixture
def world():
    made = World()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def both_attend(monkeypatch):
    """Set once two members are connected."""
    number, both, attend = [0], threading.Event(), Watch.attend

    def counted(self, member):
        number[0] += 1
        if number[0] == 2:
            both.set()
        attend(self, member)

    monkeypatch.setattr(Watch, "attend", counted)
    return both


@pytest.mark.parametrize("lost", [0, 1])
def test_who_is_lost_is_told_to_all_others(lost, world, both_attend):
    watches = world.begin_all(both_attend)
    watches[lost].close()
    for rank in {0, 1, 2} - {lost}:
        assert world.told[rank].wait(SECONDS)
    assert not world.told[lost].is_set()


def test_a_member_may_begin_before_the_leader(world, both_attend):
    world.begin(1)
    world.begin(2)
    assert world.leader.asked.wait(SECONDS)
    leader = world.begin(0)
    assert both_attend.wait(SECONDS)
    leader.close()
    assert world.told[1].wait(SECONDS)


def test_a_leader_that_was_lost_before_a_member_came_is_told_too(world):
    world.leader.is_lost = True
    world.begin(1)
    assert world.told[1].wait(SECONDS)


def test_nobody_is_told_twice(world, both_attend):
    watches = world.begin_all(both_attend)
    times = []
    watches[0]._lost = lambda: times.append(1)
    watches[1].close()
    assert world.told[2].wait(SECONDS)
    watches[0].close()
    watches[2].close()
    assert times == [1]
