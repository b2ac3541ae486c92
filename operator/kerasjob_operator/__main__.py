"""Starts the operator: `python -m kerasjob_operator`. A table of contents; the parts are in their modules."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from kerasjob_operator import base_check, health, key, logs
from kerasjob_operator.agents import Agents
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.job_watch import JobWatch
from kerasjob_operator.kubernetes_cluster import KubernetesCluster
from kerasjob_operator.lease import Lease
from kerasjob_operator.listings import Listings, Scope
from kerasjob_operator.loop import Loop
from kerasjob_operator.metrics import REGISTRY
from kerasjob_operator.mounts import Mounts
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
    every = settings.resync_seconds
    scopes = [
        Scope(namespace, JobWatch(api, store, namespace, every), PodWatch(api, store, namespace, every))
        for namespace in settings.watched or (None,)
    ]
    listings = Listings(scopes)
    poller = Poller(store, agents, settings, is_leading=lease.is_held)
    cluster = KubernetesCluster(api, store, agents, settings)

    def has_changed(key: Key) -> None:
        queue.add(key)
        poller.touch(key)

    store.on_change = has_changed
    loop = Loop(cluster, queue, lease, listings, settings, lambda: poller.live_jobs)
    tasks = [asyncio.create_task(loop.work(), name=f"worker {n}") for n in range(settings.queue_workers)]
    for scope in scopes:
        tasks.append(asyncio.create_task(scope.pods.run(), name="pod watch"))
        tasks.append(asyncio.create_task(scope.jobs.resync(), name="resync"))
        tasks.append(asyncio.create_task(scope.jobs.watch(), name="job watch"))
        check = base_check.run(api, store, scope.namespace, settings.resync_seconds)
        tasks.append(asyncio.create_task(check, name="base check"))
    tasks.append(asyncio.create_task(Mounts(api, store, lease.is_held).run(), name="mounts"))
    tasks.append(asyncio.create_task(poller.run(), name="poller"))
    tasks.append(asyncio.create_task(lease.run(), name="lease"))
    server = await health.serve(tasks, queue, listings, lease, settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await stop.wait()
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
