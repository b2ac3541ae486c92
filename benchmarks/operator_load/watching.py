"""What happens on the API server, with the time at which it was heard of, by watches of the benchmark's own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable

from kerasjob_api.constants import Label
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS
from kerasjob_operator.pod_watch import PODS
from operator_load.jobs import NAMESPACE


class Times:
    """By job: when its pods were seen first, when its last pod had ended, when it was Running and Succeeded."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, float]] = defaultdict(dict)
        self.ended: dict[str, dict[str, float]] = defaultdict(dict)
        self.phases: dict[str, dict[str, float]] = defaultdict(dict)
        self.num_pods = 0
        self.first = 0.0  # when the first job was seen: starting a client is no part of what it does
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits until something holds; AssertionError where that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            phases = [max(times, key=lambda phase: times[phase]) for times in self.phases.values()]
            counts = {phase: phases.count(phase) for phase in set(phases)}
            raise AssertionError(f"not within {seconds:.0f} s; {self.num_pods} pods, jobs: {counts}") from None

    def num_in(self, *phases: str) -> int:
        """Jobs that were in one of these phases."""
        return sum(not times.keys().isdisjoint(phases) for times in self.phases.values())

    def pod(self, kind: str, body: dict) -> None:
        metadata, now = body["metadata"], time.time()
        job, name = (metadata.get("labels") or {}).get(Label.JOB, ""), metadata["name"]
        if kind != "DELETED" and name not in self.pods[job]:
            self.pods[job][name] = now
            self.num_pods += 1
        if body.get("status", {}).get("phase") == "Succeeded":
            self.ended[job].setdefault(name, now)
        self._changed.set()

    def job(self, kind: str, body: dict) -> None:
        phase = (body.get("status") or {}).get("phase", "")
        self.first = self.first or time.time()
        self.phases[body["metadata"]["name"]].setdefault(phase, time.time())
        self._changed.set()


@contextlib.asynccontextmanager
async def watched(kubeconfig: str):
    """Both watches, from now on."""
    api, times = await KubernetesApi.connect(kubeconfig), Times()
    tasks = [
        asyncio.create_task(_watch(api, PODS, times.pod)),
        asyncio.create_task(_watch(api, JOBS, times.job)),
    ]
    try:
        yield times
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await api.close()


async def _watch(api, resource, hear) -> None:
    version = str((await api.list_all(resource, NAMESPACE, lambda _body: None)).version)
    while True:
        try:
            async for kind, body in api.watch(resource, NAMESPACE, version):
                version = body["metadata"]["resourceVersion"]
                if kind in ("ADDED", "MODIFIED", "DELETED"):
                    hear(kind, body)
        except ApiError as error:
            if error.code == 410:
                listing = await api.list_all(resource, NAMESPACE, lambda body: hear("ADDED", body))
                version = str(listing.version)
            await asyncio.sleep(0.1)
