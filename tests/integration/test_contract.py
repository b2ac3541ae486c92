"""The contract of `Cluster` (tests/contract) held by the Kubernetes body, on a real API server, as its own user."""

import asyncio
import itertools

import pytest
from tests.contract.test_cluster import *  # noqa: F403  (the suite; `body` below is what it runs against)
from tests.integration.conftest import Jobs

from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS, PODS, KubernetesCluster
from kerasjob_operator.pod_watch import OURS
from kerasjob_operator.settings import OperatorSettings
from kerasjob_operator.store import Store

NAMES = (f"contract-{number}" for number in itertools.count())
HOSTS = (f"127.0.2.{number}" for number in itertools.count(2))


class OnKubernetes:
    """The Kubernetes body; the kubelet is played."""

    def __init__(self, api, kubelet, name):
        self.name = name
        self.store = Store("image")
        self.agents = Agents(b"key")
        self.cluster = KubernetesCluster(api, self.store, self.agents, OperatorSettings())
        self._api = api
        self._kubelet = kubelet
        self._running = set()

    async def look(self):
        """Lists as resync does."""
        self.store.keep_jobs(await self._api.list_all(JOBS, "default", self.store.put_job))
        self.store.keep_pods(await self._api.list_all(PODS, "default", self.store.put_pod, OURS))

    async def until(self, condition):
        """Life goes on until the condition holds for what is observed."""
        async with asyncio.timeout(20):
            while not condition(self.seen()):
                for worker in self.seen().workers:
                    if worker.deleting and not worker.has_ended:
                        await asyncio.to_thread(self._kubelet.end, worker.name, 30)
                        self._kubelet.close()
                    elif worker.name not in self._running:
                        self._running.add(worker.name)
                        await asyncio.to_thread(self._kubelet.bind, worker.name)
                        await asyncio.to_thread(self._kubelet.run, worker.name, next(HOSTS))
                await self.look()

    def seen(self):
        return self.cluster.observe("default", self.name)


@pytest.fixture
async def body(plane, kubelet):
    api = await KubernetesApi.connect(str(plane.operator_kubeconfig()))
    jobs, name = Jobs(plane), next(NAMES)
    body = OnKubernetes(api, kubelet, name)
    await asyncio.to_thread(jobs.apply, name, managedBy="kerasjob.dev/tests")  # not by the operator, where one runs
    await body.look()
    yield body
    await body.agents.close()
    await api.close()
    await asyncio.to_thread(jobs.delete_all)
