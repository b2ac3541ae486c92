"""Asks agents how they do, beside the passes: all of a job that does not train, the leader alone of one that does.

A slow agent delays no other: each is asked by a task of its own, and not again before that one has ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from kerasjob_api.constants import ConditionType, WorkerState
from kerasjob_core.cluster import Unavailable
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job, PodPhase, Worker
from kerasjob_operator.agents import Agents
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Key, Store

log = logging.getLogger(__name__)

AT_ONCE = 128
# A leader whose trainer has lost its peers must be noticed soon. With many jobs, this many leaders are asked a second.
LEADERS_PER_SECOND = 100
LEADER_INTERVAL_MAX_SECONDS = 20.0


class Poller:
    """Keeps reports fresh in the store. A report that changed makes its job due."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        settings: OperatorSettings,
        clock: Callable[[], float] = time.monotonic,
        is_leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._agents = agents
        self._often = settings.poll_interval_seconds
        self._clock = clock
        self._is_leading = is_leading
        self._next: dict[Key, float] = {}
        self.live_jobs = 0
        self._asked: dict[str, asyncio.Task[None]] = {}  # by pod uid, while they last
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """For ever, while this operator leads."""
        try:
            while True:
                if self._is_leading():
                    self.round()
                await asyncio.sleep(self._often)
        finally:
            for task in self._asked.values():
                task.cancel()

    def round(self) -> list[asyncio.Task[None]]:
        """Begins to ask the workers of all jobs that are due; the tasks that do."""
        now = self._clock()
        jobs = [job for job in self._store.jobs() if job.spec is not None and not is_finished(job.status)]
        self.live_jobs = len(jobs)
        live = {(job.ref.namespace, job.ref.name) for job in jobs}
        self._next = {key: due for key, due in self._next.items() if key in live}
        # A little less than a whole number of rounds, so that none is missed by a hair.
        leaders = min(max(self._often, len(jobs) / LEADERS_PER_SECOND), LEADER_INTERVAL_MAX_SECONDS)
        begun: list[asyncio.Task[None]] = []
        # Those that have waited longest first, and no more than can be asked: the others are due in the next round.
        for job in sorted(jobs, key=lambda job: self._next.get((job.ref.namespace, job.ref.name), 0.0)):
            key = (job.ref.namespace, job.ref.name)
            if now < self._next.get(key, 0.0) or len(self._asked) >= 2 * AT_ONCE:
                break
            targets, interval = self._targets(job, leaders)
            self._next[key] = now + interval - self._often / 2
            begun += [self._begin(job, key, worker) for worker in targets if worker.uid not in self._asked]
        return begun

    def _targets(self, job: Job, leader_interval: float) -> tuple[list[Worker], float]:
        workers = self._store.workers((job.ref.namespace, job.ref.name))
        workers = [w for w in workers if w.phase is PodPhase.RUNNING and w.endpoint is not None]
        if job.status.ring is None:
            return [w for w in workers if not w.ready], self._often  # what keeps it; a pod that is ready says enough
        if not is_true(job.status, ConditionType.READY):
            return workers, self._often
        first = job.status.ring.members[0] if job.status.ring is not None else None
        leader = next(
            (w for w in workers if first and (w.slot, w.incarnation) == (first.slot, first.incarnation)), None
        )
        if leader is None or leader.report is None or leader.report.state != WorkerState.TRAINING:
            return workers, self._often  # the others show who is to blame
        if any(worker.silent_since is not None for worker in workers):
            return workers, self._often  # since when one is silent counts only as long as it is asked
        return [leader], leader_interval

    def _begin(self, job: Job, key: Key, worker: Worker) -> asyncio.Task[None]:
        task = asyncio.create_task(self._ask(job, key, worker), name=f"ask {worker.name}")
        self._asked[worker.uid] = task
        task.add_done_callback(lambda _: self._asked.pop(worker.uid, None))
        return task

    async def _ask(self, job: Job, key: Key, worker: Worker) -> None:
        assert worker.endpoint is not None
        try:
            async with self._slots:
                report = await self._agents.report(worker.endpoint, job.ref.uid)
        except Unavailable:
            # Not up yet, or gone: the pod's own state says which, unless its node cannot be reached.
            self._store.put_silence(key, worker.name, time.time())
            return
        except Exception:
            log.exception("%s/%s: worker %s could not be asked", *key, worker.name)
            return
        self._store.put_report(key, worker.name, report)
        ring = job.status.ring
        if ring is not None and not ring.broken and report.revision < ring.revision:
            self._store.on_change(key)  # it can be reached, but has not got its ring: a push must have failed
