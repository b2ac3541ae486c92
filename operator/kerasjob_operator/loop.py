"""Takes due jobs from the queue and passes over them; lists everything again every few minutes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from kerasjob_core.cluster import ClusterError, Conflict, NotFound, Unavailable
from kerasjob_core.reconciler import reconcile
from kerasjob_core.settings import Settings
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS, KubernetesCluster
from kerasjob_operator.lease import Lease
from kerasjob_operator.metrics import LAST_RESYNC, RECONCILE_ERRORS, RECONCILE_SECONDS
from kerasjob_operator.pod_watch import PODS, PodWatch
from kerasjob_operator.queue import Key, WorkQueue
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

LIST_AGAIN_SECONDS = 2.0  # after a listing that failed
# Each write of a job's progress is a request: with many jobs each is written less often.
PROGRESS_PER_SECOND = 50


class Loop:
    """The queue's workers and the resync."""

    def __init__(
        self,
        api: KubernetesApi,
        cluster: KubernetesCluster,
        store: Store,
        queue: WorkQueue,
        lease: Lease,
        pod_watches: Sequence[PodWatch],
        settings: OperatorSettings,
        count_live_jobs: Callable[[], int],
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._lease = lease
        self._settings = settings
        self._pod_watches = pod_watches
        self._count_live_jobs = count_live_jobs
        self._jobs_listed = asyncio.Event()
        self._last_resync = time.monotonic()
        LAST_RESYNC.labels(PODS.plural).set_function(lambda: min(watch.listed_at for watch in pod_watches))

    async def listed(self) -> None:
        """Waits for the first full listing: before it, what is not known may well be there."""
        await self._jobs_listed.wait()
        for watch in self._pod_watches:
            await watch.listed.wait()

    @property
    def last_resync(self) -> float:
        """When all was listed last, by the monotonic clock."""
        return min([self._last_resync, *(watch.last_listing for watch in self._pod_watches)])

    async def work(self) -> None:
        """One worker, for ever, while this operator leads."""
        await self.listed()
        while True:
            await self._lease.until_held()
            key = await self._queue.take()
            try:
                if self._lease.is_held():
                    await self._pass(key)
                else:
                    self._queue.add(key)  # to be ready where it leads again
            finally:
                self._queue.release(key)

    async def resync(self) -> None:
        """For ever: lists all and replaces what is known."""
        while True:
            wait = self._settings.resync_seconds
            try:
                for namespace in self._settings.watched or (None,):
                    listing = await self._api.list_all(JOBS, namespace, self._store.put_job)
                    self._store.keep_jobs(listing, namespace)
                self._store.forget_the_gone()
                self._last_resync = time.monotonic()
                LAST_RESYNC.labels(JOBS.plural).set(time.time())
                self._jobs_listed.set()
            except ApiError as error:
                log.warning("not everything could be listed, will be tried again: %s", error)
                wait = min(LIST_AGAIN_SECONDS, wait)
            except Exception:
                log.exception("the listing could not be taken over")
            await asyncio.sleep(wait)

    async def _pass(self, key: Key) -> None:
        started = time.monotonic()
        brain = Settings(max(self._settings.progress_interval_seconds, self._count_live_jobs() / PROGRESS_PER_SECOND))
        try:
            plan = await reconcile(self._cluster, *key, time.time(), brain)
        except (Conflict, NotFound) as error:
            # Most often the event that made the conflict is on its way, and makes the job due itself.
            log.debug("%s/%s: looked at again: %s", *key, error)
            self._queue.retry(key)
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
