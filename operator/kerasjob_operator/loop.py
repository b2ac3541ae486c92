"""Takes due jobs from the queue and passes over them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kerasjob_core.cluster import ClusterError, Conflict, NotFound, Unavailable
from kerasjob_core.reconciler import reconcile
from kerasjob_core.settings import Settings
from kerasjob_operator import logs
from kerasjob_operator.kubernetes_cluster import KubernetesCluster
from kerasjob_operator.lease import Lease
from kerasjob_operator.listings import Listings
from kerasjob_operator.metrics import RECONCILE_ERRORS, RECONCILE_SECONDS
from kerasjob_operator.pod_watch import LIST_AGAIN_SECONDS
from kerasjob_operator.queue import Key, WorkQueue
from kerasjob_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

# Each write of a job's progress is a request: with many jobs each is written less often.
PROGRESS_PER_SECOND = 50


class Loop:
    """The queue's workers."""

    def __init__(
        self,
        cluster: KubernetesCluster,
        queue: WorkQueue,
        lease: Lease,
        listings: Listings,
        settings: OperatorSettings,
        count_live_jobs: Callable[[], int],
    ) -> None:
        self._cluster = cluster
        self._queue = queue
        self._lease = lease
        self._listings = listings
        self._settings = settings
        self._count_live_jobs = count_live_jobs

    async def work(self) -> None:
        """One worker, for ever, while this operator leads."""
        while True:
            await self._lease.until_held()
            key = await self._queue.take()
            try:
                if not self._lease.is_held():
                    self._queue.add(key)  # to be ready where it leads again
                elif not self._listings.knows(key[0]):
                    self._queue.add(key, LIST_AGAIN_SECONDS)  # what is not known may well be there
                else:
                    with logs.about(*key):
                        await self._pass(key)
            finally:
                self._queue.release(key)

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
