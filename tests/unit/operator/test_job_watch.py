"""From which version on kopf watches, and who lists."""

import asyncio

import pytest
from kopf._cogs.clients import fetching

from kerasjob_operator import kopf_reading
from kerasjob_operator.job_watch import JobWatch
from kerasjob_operator.listing import Listing
from kerasjob_operator.store import Store


class Api:
    """Lists nothing, at a later version each time."""

    def __init__(self):
        self.lists = 0

    async def list_all(self, *_):
        self.lists += 1
        return Listing(frozenset(), 10 * self.lists)


@pytest.fixture
def api():
    return Api()


def test_a_watch_begins_from_a_listing_that_none_has_begun_from(api):
    async def begin_thrice():
        watch = JobWatch(api, Store("image"), None, 300)
        resync = asyncio.create_task(watch.resync())
        await watch.listed.wait()
        resync.cancel()
        return [await watch.begin() for _ in range(3)]

    assert asyncio.run(begin_thrice()) == [10, 20, 30]
    assert api.lists == 3


def test_kopf_is_told_of_no_objects_and_of_the_version_of_our_listing():
    async def version():
        return 7

    async def fetch():
        kopf_reading.teach_kopf(version)
        return [chunk async for chunk in fetching.fetch_objs(resource=None)]

    assert asyncio.run(fetch()) == [([], "7")]
