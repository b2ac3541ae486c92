"""Takes due jobs from the queue and passes over them; lists everything again every few minutes."""

from __future__ import annotations

import asyncio
import logging
import time

from kerasjob_api.constants import Label
from kerasjob_core.cluster import ClusterError, Conflict, NotFound, Unavailable
from kerasjob_core.reconciler import reconcile
from kerasjob_core.settings import Settings
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS, PODS, KubernetesCluster
from kerasjob_operator.metrics import LAST_RESYNC, RECONCILE_ERRORS, RECONCILE_SECONDS
from kerasjob_operator.queue import Key, WorkQueue
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

CONFLICT_SECONDS = 0.05  # the event that made the conflict is on its way


class Loop:
    """The queue's workers and the resync."""

    def __init__(
        self, api: KubernetesApi, cluster: KubernetesCluster, store: Store, queue: WorkQueue, settings: OperatorSettings
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._settings = settings
        self._brain = Settings(progress_interval_seconds=settings.progress_interval_seconds)
        self.last_resync = time.monotonic()

    async def work(self) -> None:
        """One worker, for ever."""
        while True:
            key = await self._queue.take()
            try:
                await self._pass(key)
            finally:
                self._queue.release(key)

    async def resync(self) -> None:
        """For ever: lists all and replaces what is known."""
        while True:
            try:
                await self._list_all()
            except ApiError as error:
                log.warning("resync failed, will be tried again: %s", error)
                await asyncio.sleep(min(10.0, self._settings.resync_seconds))
                continue
            await asyncio.sleep(self._settings.resync_seconds)

    async def _list_all(self) -> None:
        selector = f"{Label.MANAGED_BY}={Label.MANAGED_BY_VALUE}"
        jobs, pods = [], []
        for namespace in self._settings.watched or (None,):
            jobs += await self._api.list_all(JOBS, namespace)
            pods += await self._api.list_all(PODS, namespace, selector)
        self._store.replace_all(jobs, pods)
        self.last_resync = time.monotonic()
        LAST_RESYNC.set(time.time())

    async def _pass(self, key: Key) -> None:
        started = time.monotonic()
        try:
            plan = await reconcile(self._cluster, *key, time.time(), self._brain)
        except (Conflict, NotFound) as error:
            log.debug("%s/%s: looked at again: %s", *key, error)
            self._queue.add(key, CONFLICT_SECONDS)
        except ClusterError as error:
            RECONCILE_ERRORS.labels(type(error).__name__).inc()
            log.info("%s/%s: %s: %s", *key, type(error).__name__, error)
            self._queue.retry(key, error.retry_after if isinstance(error, Unavailable) else None)
        except Exception:
            # A fault of ours in one job must not stop the others.
            RECONCILE_ERRORS.labels("bug").inc()
            log.exception("%s/%s: the pass failed", *key)
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)
            if plan is not None and plan.requeue_after is not None:
                self._queue.add(key, plan.requeue_after)
        finally:
            RECONCILE_SECONDS.observe(time.monotonic() - started)
