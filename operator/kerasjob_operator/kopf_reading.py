"""How kopf reads jobs: from listings of ours, and with our JSON.

kopf begins a task, with a queue, for each object of its first listing before it goes through the first of them. Ten
thousand jobs are 150 MB of that, and our own listing has told the store of the same jobs. So kopf is given the version
of such a listing and no objects, and watches from there on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from kopf._cogs.clients import api, fetching

from kerasjob_operator import json_text

VersionOfListing = Callable[[], Awaitable[int]]

_version_of_listing: ContextVar[VersionOfListing] = ContextVar("version_of_listing")


def teach_kopf(version_of_listing: VersionOfListing) -> None:
    """For the kopf that is run in this context. `version_of_listing`: lists all that it is to watch, and is the version
    of that; called where its watch begins, and where the server has forgotten the version that the watch was at."""
    _version_of_listing.set(version_of_listing)
    vars(fetching).update(fetch_objs=_fetch_nothing)
    # With Python's parser one object that is nested too deeply ends the watch for all.
    vars(api).update(json=SimpleNamespace(loads=json_text.loads))


async def _fetch_nothing(**_: Any) -> AsyncIterator[tuple[list[Any], str]]:
    yield [], str(await _version_of_listing.get()())
