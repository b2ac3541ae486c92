"""The jobs of one namespace, or of all: a full listing every few minutes, and kopf's watch, which begins from one.

Each kopf has a thread of its own: where it ends, because a namespace is gone for example, it takes along all tasks of
its loop, and must not end the operator of the other namespaces. It is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf
import uvloop
from kopf._core.engines.peering import Identity

from kerasjob_api import constants as c
from kerasjob_operator import handlers, kopf_reading
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.hearing import Hearing
from kerasjob_operator.pod_watch import REFUSED, seconds_to_wait
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

JOBS = Resource(f"apis/{c.GROUP}/{c.VERSION}", c.PLURAL)
WATCH_AGAIN_SECONDS = 5.0  # after kopf has ended by itself


class JobWatch:
    """The jobs of one namespace, or of all (None)."""

    def __init__(self, api: KubernetesApi, store: Store, namespace: str | None, resync_seconds: float) -> None:
        self._api = api
        self._store = store
        self._namespace = namespace
        self._resync_seconds = resync_seconds
        self._ready, self._stop = threading.Event(), threading.Event()
        self._lists = asyncio.Lock()
        self._new_version: int | None = None  # of a listing that no watch has begun from
        self.hearing = Hearing(c.PLURAL)
        self.listed = asyncio.Event()
        self.last_listing = time.monotonic()
        self.listed_at = 0.0  # of the clock on the wall; 0 until it was for the first time
        self.refused = False

    @property
    def is_ready(self) -> bool:
        """Whether kopf has begun to watch."""
        return self._ready.is_set()

    async def resync(self) -> None:
        """For ever: lists all and replaces what is known."""
        while True:
            wait = self._resync_seconds
            try:
                await self._list()
                self._store.forget_the_gone(self._namespace)
            except ApiError as error:
                self.refused = error.code in REFUSED
                log.warning("jobs of %s could not be listed, will be tried again: %s", self._where, error)
                wait = seconds_to_wait(self.refused, wait)
            except Exception:
                log.exception("the listing of jobs of %s could not be taken over", self._where)
                wait = seconds_to_wait(self.refused, wait)
            await asyncio.sleep(wait)

    async def watch(self) -> None:
        """Runs kopf, again where it ends, until this task is cancelled."""
        # kopf looks once for the resources that it watches: the CRD must be there by then.
        await self.listed.wait()
        self.hearing.begin()
        loop = asyncio.get_running_loop()
        try:
            while True:
                ended = asyncio.Event()
                thread = threading.Thread(target=self._run_kopf, args=(loop, ended), name=f"kopf {self._where}")
                thread.daemon = True
                thread.start()
                await ended.wait()
                log.error("the watch of jobs of %s has ended, and is begun again", self._where)
                await asyncio.sleep(WATCH_AGAIN_SECONDS)
        finally:
            self._stop.set()

    def _run_kopf(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        async def version_of_listing() -> int:
            listing = asyncio.run_coroutine_threadsafe(self.begin(), loop)
            try:
                return await asyncio.wrap_future(listing)
            except ApiError as error:
                log.warning("jobs of %s could not be listed for the watch of them: %s", self._where, error)
                if error.code in REFUSED:
                    raise  # kopf ends, and is begun again
                raise aiohttp.ClientConnectionError(str(error)) from error  # it tries again soon

        def in_our_loop(function: Callable[..., None], *arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the process ends
                loop.call_soon_threadsafe(function, *arguments)

        kopf_reading.teach_kopf(version_of_listing)
        operator = kopf.operator(
            registry=handlers.register(self._store, self.hearing, in_our_loop),
            settings=handlers.kopf_settings(),
            standalone=True,
            # Else kopf asks for the user's name, which an arbitrary uid in a container does not have.
            identity=Identity("kerasjob-operator"),
            clusterwide=self._namespace is None,
            namespaces=() if self._namespace is None else (self._namespace,),
            ready_flag=self._ready,
            stop_flag=self._stop,
        )
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(operator)
        except Exception as error:
            log.warning("kopf in %s: %s: %s", self._where, type(error).__name__, error)
        finally:
            in_our_loop(ended.set)

    async def begin(self) -> int:
        """Of which version on the watch is to tell."""
        if self._new_version is None:
            await self._list()
        version, self._new_version = self._new_version, None
        assert version is not None
        self.hearing.hear(version)
        return version

    async def _list(self) -> None:
        versions: list[int] = []

        def take(body: dict[str, Any]) -> None:
            versions.append(int(body["metadata"]["resourceVersion"]))
            self._store.put_job(body)

        async with self._lists:
            listing = await self._api.list_all(JOBS, self._namespace, take)
            self._store.keep_jobs(listing, self._namespace)
        if missed := self.hearing.listed(versions):
            log.warning("the watch of jobs of %s has not told of %s changes that are minutes old", self._where, missed)
        self.refused = False
        self.last_listing, self.listed_at = time.monotonic(), time.time()
        self._new_version = listing.version
        self.listed.set()

    @property
    def _where(self) -> str:
        return self._namespace or "all namespaces"
