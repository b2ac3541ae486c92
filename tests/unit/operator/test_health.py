"""What the operator says of itself: health, readiness, metrics."""

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.unit.operator.test_store import job

from kerasjob_operator import handlers, health
from kerasjob_operator.hearing import Hearing
from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.queue import WorkQueue
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store


class FakeListings:
    """Only what health asks of them."""

    def __init__(self):
        self.last = time.monotonic()
        self.are_deaf = False


async def forever():
    await asyncio.Event().wait()


@pytest.fixture
async def alive():
    task = asyncio.create_task(forever(), name="worker 0")
    yield task
    task.cancel()


class FakeLease:
    def __init__(self, held=True):
        self.is_held = lambda: held


def problems(*tasks, queue=None, listings=None, leads=True):
    return health.problems(
        tasks, queue or WorkQueue(), listings or FakeListings(), FakeLease(leads), OperatorSettings()
    )


async def test_all_is_well(alive):
    assert problems(alive) == []


async def test_a_worker_that_died_is_noticed(alive):
    dead = asyncio.create_task(asyncio.sleep(0), name="worker 1")
    await dead
    assert problems(alive, dead) == ["task worker 1 has ended"]


async def test_a_job_that_waits_too_long_is_noticed(alive):
    now = [0.0]
    queue = WorkQueue(clock=lambda: now[0])
    queue.add(("a", "b"))
    now[0] = 300.0
    assert problems(alive, queue=queue) == ["a job has waited 300 s for a pass"]
    assert problems(alive, queue=queue, leads=False) == [], "who does not lead has nothing to do"


async def test_an_operator_that_hears_nothing_is_noticed(alive):
    listings = FakeListings()
    listings.last -= 5000
    assert problems(alive, listings=listings) == ["nothing was listed for 5000 s"]


async def test_a_deaf_watch_of_jobs_is_noticed_though_all_is_listed(alive):
    listings = FakeListings()
    listings.are_deaf = True
    assert problems(alive, listings=listings) == ["the watch of jobs does not tell of what listings find"]


def test_series_of_a_job_go_with_it():
    registry, store = CollectorRegistry(), Store("image")
    registry.register(JobCollector(store.jobs))
    progress = {"totalStep": 7, "metrics": [{"name": "loss", "value": "0.5"}]}
    store.put_job(job(phase="Running", resolved={"image": "i:1", "seed": 3}, progress=progress))
    text = generate_latest(registry).decode()
    for line in (
        'kerasjob_jobs{namespace="default",phase="Running"} 1.0',
        'kerasjob_info{image="i:1",name="m",namespace="default",uid="u1",workers="1"} 1.0',
        'kerasjob_status_phase{name="m",namespace="default",phase="Running"} 1.0',
        'kerasjob_progress_total_step{name="m",namespace="default"} 7.0',
        'kerasjob_progress_loss{name="m",namespace="default"} 0.5',
    ):
        assert line in text
    store.drop_job(("default", "m"), "u1")
    assert "{" not in generate_latest(registry).decode()


@pytest.mark.parametrize("value", ["", "n/a", "nan"])
def test_a_loss_that_is_no_number_breaks_no_scrape(value):
    registry, store = CollectorRegistry(), Store("image")
    registry.register(JobCollector(store.jobs))
    store.put_job(job(progress={"metrics": [{"name": "loss", "value": value}]}))
    assert "kerasjob_jobs" in generate_latest(registry).decode()


def test_kopf_watches_jobs_alone_and_writes_nothing():
    settings = handlers.kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    registry = handlers.register(Store("image"), Hearing("kerasjobs"))
    assert len(registry._watching.get_all_handlers()) == 1
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
