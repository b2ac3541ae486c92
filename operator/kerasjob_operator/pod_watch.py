"""A watch of our own for pods: kopf spends half a millisecond on each event, and a job has many pods with many events.

Lists them, then hears of each change; lists them again every few minutes, and where the server has forgotten the
version that is asked for. A watch of kopf's is there for the jobs.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import Any

from kerasjob_api.constants import Label
from kerasjob_operator import pods
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.listing import take_over
from kerasjob_operator.metrics import LAST_EVENT
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

PODS = Resource("api/v1", "pods")
OURS = f"{Label.MANAGED_BY}={Label.MANAGED_BY_VALUE}"
LIST_AGAIN_SECONDS = 2.0  # after a listing that failed
GONE = 410
REFUSED, REFUSED_AGAIN_SECONDS = (403, 404), 15.0


def seconds_to_wait(refused: bool, resync_seconds: float) -> float:
    """Until a listing is tried again that failed, or was refused, which takes somebody to change it."""
    return min(REFUSED_AGAIN_SECONDS if refused else LIST_AGAIN_SECONDS, resync_seconds)


class PodWatch:
    """The pods of one namespace, or of all (None)."""

    def __init__(self, api: KubernetesApi, store: Store, namespace: str | None, resync_seconds: float) -> None:
        self._api = api
        self._store = store
        self._namespace = namespace
        self._resync_seconds = resync_seconds
        self.listed = asyncio.Event()
        self.last_listing = time.monotonic()
        self.listed_at = 0.0  # of the clock on the wall; 0 until it was for the first time
        self.refused = False

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                version = await self._list()
                async with asyncio.timeout(self._resync_seconds):
                    await self._hear(version)
            except TimeoutError:
                continue  # time to list again
            except ApiError as error:
                if error.code == GONE:
                    log.info("the API server has forgotten where the watch of pods was, they are listed again")
                else:
                    self.refused = error.code in REFUSED
                    where = self._namespace or "all namespaces"
                    log.warning("pods of %s could not be listed or watched, will be tried again: %s", where, error)
                    await asyncio.sleep(seconds_to_wait(self.refused, self._resync_seconds))

    async def _list(self) -> str:
        listing = await self._api.list_all(PODS, self._namespace, self._store.put_pod, OURS)
        self._store.keep_pods(listing, self._namespace)
        self.last_listing, self.listed_at = time.monotonic(), time.time()
        self.refused = False
        if not self.listed.is_set():
            self.listed.set()
            self._store.look_again()  # passes over jobs have waited for this
        return str(listing.version)

    async def _hear(self, version: str) -> None:
        while True:
            try:
                async for kind, body in self._api.watch(PODS, self._namespace, version, OURS):
                    version = body["metadata"]["resourceVersion"]
                    LAST_EVENT.labels("pods").set(time.time())
                    take_over(PODS.plural, body, functools.partial(self._take, kind))
            except ApiError as error:
                if error.code != 0:
                    raise
                # A connection that broke: what was missed is heard from the last version on.
                log.info("the watch of pods broke and goes on: %s", error.message)
                await asyncio.sleep(LIST_AGAIN_SECONDS)

    def _take(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "DELETED":
            key, metadata = pods.job_of(body), body["metadata"]
            if key is not None:
                self._store.drop_pod(key, metadata["name"], metadata["uid"])
        elif kind in ("ADDED", "MODIFIED"):
            self._store.put_pod(body)
