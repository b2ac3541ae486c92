"""Starts the operator: `python -m kerasjob_operator`. A table of contents; the parts are in their modules."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

import kopf
import uvloop
from kopf._core.engines.peering import Identity

from kerasjob_operator import handlers, health, key, logs
from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.kubernetes_cluster import KubernetesCluster
from kerasjob_operator.lease import Lease
from kerasjob_operator.loop import Loop
from kerasjob_operator.metrics import REGISTRY
from kerasjob_operator.pod_watch import PodWatch
from kerasjob_operator.poller import Poller
from kerasjob_operator.queue import WorkQueue
from kerasjob_operator.settings import OperatorSettings, from_environment
from kerasjob_operator.store import Key, Store

log = logging.getLogger("kerasjob_operator")


async def run(settings: OperatorSettings) -> None:
    """Runs until SIGTERM or SIGINT."""
    log.info("watching %s; workers run %s", ", ".join(settings.watched) or "all namespaces", settings.default_image)
    api, lease_api = await KubernetesApi.connect(), await KubernetesApi.connect()
    agents = Agents(await key.load(api, settings.namespace))
    queue = WorkQueue()
    store = Store(settings.default_image)
    queue.is_urgent = store.is_urgent
    lease = Lease(lease_api, settings.namespace, settings.identity or socket.gethostname(), store.look_again)
    api.may_write = lease.is_held
    # Of several operators one tells of the jobs: twice the series would be twice the jobs.
    REGISTRY.register(JobCollector(lambda: store.jobs() if lease.is_held() else ()))
    pod_watches = [PodWatch(api, store, ns, settings.resync_seconds) for ns in settings.watched or (None,)]
    poller = Poller(store, agents, settings, is_leading=lease.is_held)
    cluster = KubernetesCluster(api, store, agents, settings)

    def has_changed(key: Key) -> None:
        queue.add(key)
        poller.touch(key)

    store.on_change = has_changed
    loop = Loop(api, cluster, store, queue, lease, pod_watches, settings, lambda: poller.live_jobs)
    tasks = [asyncio.create_task(loop.work(), name=f"worker {n}") for n in range(settings.queue_workers)]
    tasks += [asyncio.create_task(watch.run(), name="pod watch") for watch in pod_watches]
    tasks.append(asyncio.create_task(loop.resync(), name="resync"))
    tasks.append(asyncio.create_task(poller.run(), name="poller"))
    tasks.append(asyncio.create_task(lease.run(), name="lease"))
    ready = asyncio.Event()
    server = await health.serve(tasks, queue, loop, lease, ready, settings)
    try:
        # kopf looks once for the resources that it watches: the CRD must be there by then.
        await loop.listed()
        await kopf.operator(
            registry=handlers.register(store),
            settings=handlers.kopf_settings(),
            standalone=True,
            # Else kopf asks for the user's name, which an arbitrary uid in a container does not have.
            identity=Identity("kerasjob-operator"),
            clusterwide=not settings.watched,
            namespaces=settings.watched,
            ready_flag=ready,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await lease.release()
        await server.cleanup()
        await agents.close()
        await asyncio.gather(api.close(), lease_api.close())


def main() -> None:
    """Reads the settings, sets up logging, runs."""
    try:
        settings = from_environment(os.environ)
    except ValueError as error:
        sys.exit(f"kerasjob-operator: {error}")
    logs.set_up(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except ApiError as error:
        sys.exit(f"kerasjob-operator: the API server does not let it start: {error}")


if __name__ == "__main__":
    main()
