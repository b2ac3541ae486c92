"""Asks agents how they do, beside the passes: all of a job that does not train, the leader alone of one that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kerasjob_api.constants import ConditionType, WorkerState
from kerasjob_core.cluster import Unavailable
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job, PodPhase, Worker
from kerasjob_core.policies.ring import rank_of
from kerasjob_operator.agents import Agents
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Key, Store


class Poller:
    """Keeps reports fresh in the store. A report that changed makes its job due."""

    def __init__(
        self, store: Store, agents: Agents, settings: OperatorSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._agents = agents
        self._settings = settings
        self._clock = clock
        self._next: dict[Key, float] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.round()
            await asyncio.sleep(self._settings.poll_interval_seconds)

    async def round(self) -> None:
        """One round over the jobs that are due."""
        now = self._clock()
        jobs = [job for job in self._store.jobs() if job.spec is not None and not is_finished(job.status)]
        live = {(job.ref.namespace, job.ref.name) for job in jobs}
        self._next = {key: due for key, due in self._next.items() if key in live}
        asked = []
        for job in jobs:
            key = (job.ref.namespace, job.ref.name)
            workers = [w for w in self._store.workers(key) if w.phase is PodPhase.RUNNING and w.endpoint is not None]
            targets, interval = self._targets(job, workers)
            if now >= self._next.get(key, 0.0) and targets:
                self._next[key] = now + interval
                asked += [self._ask(job, key, worker) for worker in targets]
        await asyncio.gather(*asked)

    def _targets(self, job: Job, workers: list[Worker]) -> tuple[list[Worker], float]:
        often = self._settings.poll_interval_seconds
        if not is_true(job.status, ConditionType.READY):
            return workers, often
        leaders = [w for w in workers if rank_of(job.status, w) == 0]
        trains = bool(leaders) and leaders[0].report is not None and leaders[0].report.state == WorkerState.TRAINING
        if not trains:
            return workers, often  # the others show who is to blame
        # A leader whose trainer has lost its peers must be noticed soon; its progress is written less often.
        return leaders, min(self._settings.progress_interval_seconds, 5.0)

    async def _ask(self, job: Job, key: Key, worker: Worker) -> None:
        assert worker.endpoint is not None
        try:
            report = await self._agents.report(worker.endpoint, job.ref.uid)
        except Unavailable:
            return  # not up yet, or gone: the pod's own state says which
        self._store.put_report(key, worker.name, report)
