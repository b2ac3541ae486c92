"""A worker that waits for others has not stalled while one of them moves: real HTTP servers."""

import time

import pytest

from kerasjob_api.wire import Member, Ring
from kerasjob_trainer.others import Others
from kerasjob_trainer.run import Run
from kerasjob_trainer.server import Refused, serve

STALL_SECONDS = 60.0


class Agent:
    """The part of another worker's agent that is asked. `seconds`: since it has moved; None: it has no trainer."""

    def __init__(self, seconds):
        self.seconds, self.asked = seconds, 0
        self.server = serve("127.0.0.1", 0, "token", self)

    def moved(self, revision):
        self.asked += 1
        if self.seconds is None or revision != 3:
            raise Refused(503, "no trainer")
        return self.seconds


@pytest.fixture
def asked(monkeypatch):
    """Has a worker, that has not moved for so long, ask agents; answers how long ago it or another one has moved."""
    made = []

    def ask(idle, *agents, watched=True):
        made.extend(agents)
        ports = [1, *(agent.server.server_address[1] for agent in agents)]  # of the worker itself nobody asks
        run = Run(Ring("uid", 3, tuple(Member(slot, 0, "127.0.0.1", port, 2) for slot, port in enumerate(ports))), 0)
        now = time.monotonic()
        run.last_move, run.watched = now - idle, watched
        others = Others("token", STALL_SECONDS, lambda function, *args: function(*args))
        others.tick(run, now)
        deadline = time.monotonic() + 20
        while others._asking and time.monotonic() < deadline:
            time.sleep(0.01)
        return round(now - run.last_move)

    yield ask
    for agent in made:
        agent.server.shutdown()
        agent.server.server_close()


def test_the_one_that_has_moved_last_counts_whoever_does_not_answer(asked):
    assert asked(50, Agent(None), Agent(40), Agent(20)) == 20


def test_once_one_has_just_moved_no_further_one_is_asked(asked):
    just, other = Agent(1), Agent(0)
    assert asked(50, just, other) == 1
    assert (just.asked, other.asked) == (1, 0)


def test_of_a_ring_that_stands_still_the_time_goes_on(asked):
    assert asked(50, Agent(50), Agent(70)) == 50


def test_nobody_is_asked_without_need(asked):
    agent = Agent(0)
    asked(5, agent)
    asked(50, agent, watched=False)
    asked(50)
    assert agent.asked == 0
