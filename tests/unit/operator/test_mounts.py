"""Why pods wait is asked for seldom, and what is old or was said once is not believed."""

import time

import pytest
from tests.unit.operator.test_store import KEY, job, made

from kerasjob_core.observed import Waiting
from kerasjob_core.times import to_rfc3339
from kerasjob_operator.listing import Listing
from kerasjob_operator.mounts import ASK_AGAIN_SECONDS, PATIENCE_SECONDS, SELECTOR, Mounts
from kerasjob_operator.store import Store

WORDS = 'secret "y" not found'


class FakeApi:
    def __init__(self):
        self.events, self.asked = [], []

    async def list_all(self, resource, namespace, take, fields):
        self.asked.append((resource.plural, namespace, fields))
        for event in self.events:
            take(event)
        return Listing(frozenset(), 1)


def event(ago=1, count=4, message=WORDS, uid="p1"):
    return {
        "metadata": {}, "involvedObject": {"uid": uid}, "count": count, "message": message,
        "lastTimestamp": to_rfc3339(time.time() - ago),
    }  # fmt: skip


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def store():
    store = Store("image")
    store.put_job(job())
    store.put_pod(made())
    return store


@pytest.fixture
def mounts(api, store, now):
    return Mounts(api, store, clock=lambda: now[0])


def waiting(store):
    return store.observe(KEY).workers[0].waiting


async def test_a_pod_that_waits_for_long_is_asked_about_now_and_then(mounts, api, store, now):
    await mounts.round()
    assert api.asked == []
    now[0] += PATIENCE_SECONDS
    for _ in range(3):
        await mounts.round()
    assert api.asked == [("events", "default", SELECTOR)]
    now[0] += ASK_AGAIN_SECONDS
    api.events = [event(5, message="older"), event(), event(message="another's", uid="p2")]
    await mounts.round()
    assert len(api.asked) == 2
    assert waiting(store) == Waiting("FailedMount", WORDS)


def test_what_the_scheduler_said_is_gone_once_a_pod_has_a_node(store):
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    homeless = made(2)
    del homeless["spec"]["nodeName"]
    homeless["status"]["conditions"] = [scheduled]
    store.put_pod(homeless)
    assert waiting(store) == Waiting("Unschedulable", "no room")
    store.put_pod(made(3))
    assert waiting(store) is None


@pytest.mark.parametrize("said", [event(ago=1000), event(count=1)])
async def test_what_is_old_or_was_said_once_is_not_believed(mounts, api, store, now, said):
    api.events = [said]
    await mounts.round()
    now[0] += PATIENCE_SECONDS
    await mounts.round()
    assert api.asked
    assert waiting(store) is None
