"""Asks agents how they do, beside the passes: all of a job that does not train, the leader alone of one that does.

A slow agent delays no other: each is asked by a task of its own, and not again before that one has ended.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable

from kerasjob_api.constants import ConditionType, WorkerState
from kerasjob_core.cluster import Unavailable
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job, PodPhase, Worker
from kerasjob_operator import logs
from kerasjob_operator.agents import Agents, SaysNo
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Key, Store

log = logging.getLogger(__name__)

AT_ONCE = 128
# A leader whose trainer has lost its peers must be noticed soon. With many jobs, this many leaders are asked a second.
LEADERS_PER_SECOND = 75
LEADER_INTERVAL_MAX_SECONDS = 30.0


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
        self._due: dict[Key, float] = {}
        self._doubtful: set[Key] = set()  # jobs of which a worker has not answered
        self._heap: list[tuple[float, Key]] = []  # with entries that no longer count
        self._asked: dict[str, asyncio.Task[None]] = {}  # by pod uid, while they last
        self._slots = asyncio.Semaphore(AT_ONCE)
        for job in store.jobs():
            self.touch((job.ref.namespace, job.ref.name))

    @property
    def live_jobs(self) -> int:
        """How many jobs there are to be asked about."""
        return len(self._due)

    def touch(self, key: Key) -> None:
        """Something is new of a job: where it does not train it is not left for long."""
        now = self._clock()
        due = self._due.get(key)
        if due is None:
            self._set(key, now)
        elif due > now + self._often:
            job = self._store.job(key)
            if job is not None and not is_true(job.status, ConditionType.READY):
                self._set(key, now + self._often / 2)

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
        leaders = min(max(self._often, len(self._due) / LEADERS_PER_SECOND), LEADER_INTERVAL_MAX_SECONDS)
        begun: list[asyncio.Task[None]] = []
        # No more than can be asked: the others are due in the next round, the longest waiting first.
        while self._heap and self._heap[0][0] <= now and len(self._asked) < 2 * AT_ONCE:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue
            job = self._store.job(key)
            if job is None or job.spec is None or is_finished(job.status):
                del self._due[key]
                self._doubtful.discard(key)
                continue
            targets, interval = self._targets(job, leaders)
            # A little less than a whole number of rounds, so that none is missed by a hair.
            self._set(key, now + interval - self._often / 2)
            begun += [self._begin(job, key, worker) for worker in targets if worker.uid not in self._asked]
        return begun

    def _set(self, key: Key, due: float) -> None:
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))

    def _targets(self, job: Job, leader_interval: float) -> tuple[list[Worker], float]:
        key = (job.ref.namespace, job.ref.name)
        workers = self._store.workers(key)
        workers = [w for w in workers if w.phase is PodPhase.RUNNING and w.endpoint is not None]
        if job.status.ring is None:
            return [w for w in workers if not w.ready], self._often  # what keeps it; a pod that is ready says enough
        if not is_true(job.status, ConditionType.READY):
            return workers, self._often
        first = job.status.ring.members[0] if job.status.ring is not None else None
        leader = next(
            (w for w in workers if first and (w.slot, w.incarnation) == (first.slot, first.incarnation)), None
        )
        if leader is not None and leader.report is None and key not in self._doubtful:
            return [leader], self._often  # an operator that has just begun: most often this one trains
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
        except Unavailable as error:
            # Not up yet, or gone: the pod's own state says which, unless its node cannot be reached. One that says no
            # and has never told of itself can be, so that it gets its ring.
            self._doubtful.add(key)
            if worker.report is not None or not isinstance(error, SaysNo):
                self._store.put_silence(key, worker.name, time.time())
            if worker.report is not None:
                self._set(key, self._clock() + self._often / 2)  # how the others do, and whether it comes back
            return
        except Exception:
            with logs.about(*key):
                log.exception("%s/%s: worker %s could not be asked", *key, worker.name)
            return
        self._store.put_report(key, worker.name, report)
        ring = job.status.ring
        if ring is not None and not ring.broken and report.revision < ring.revision:
            self._store.on_change(key)  # it can be reached, but has not got its ring: a push must have failed
