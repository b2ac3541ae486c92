"""The ceiling: a client that writes what the operator writes for each job, decides nothing and watches nothing.

    KUBECONFIG=… python -m operator_load.bare JOBS WORKERS

The same objects by the same functions, the same number of status patches and events, sixteen jobs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from kerasjob_core.observed import JobRef
from kerasjob_core.plan import Event
from kerasjob_operator import render
from kerasjob_operator.api_client import KubernetesApi
from kerasjob_operator.events import Events
from kerasjob_operator.jobs import job as job_record
from kerasjob_operator.kubernetes_cluster import CONFIG_MAPS, JOBS, NETWORK_POLICIES, SECRETS, SERVICES
from kerasjob_operator.pod_watch import PODS
from operator_load.jobs import NAMESPACE, a_job, some_at_once


async def write_job(api: KubernetesApi, events: Events, name: str, workers: int) -> None:
    """The 6 + N writes of a job's good path, and three events."""
    made = await api.create(JOBS, NAMESPACE, a_job(name, workers))
    ref, spec = JobRef(NAMESPACE, name, made["metadata"]["uid"]), job_record(made).spec
    assert spec is not None
    status: dict[str, Any] = {"resolved": {"image": "image", "seed": 1}, "phase": "Pending"}
    await patch(api, name, status)
    await events.show(ref, Event("Normal", "Created", f"job accepted: {workers} workers"))
    plan = render.plan(ref, spec, "image", 1)
    for resource, body in (
        (CONFIG_MAPS, plan),
        (SECRETS, render.token_secret(ref, "token")),
        (SERVICES, render.service(ref)),
        (NETWORK_POLICIES, render.network_policy(ref, "kerasjob-system", "monitoring")),
    ):
        await api.create(resource, NAMESPACE, body)
    template = plan["data"][render.POD_FILE]
    for slot in range(workers):
        await api.create(PODS, NAMESPACE, render.pod(ref, template, slot, 0), strict=True)
    members = [{"slot": slot, "incarnation": 0, "host": "127.16.0.1"} for slot in range(workers)]
    status |= {"ring": {"revision": 1, "members": members}}
    for phase in ("Starting", "Running", "Succeeded"):
        await patch(api, name, status | {"phase": phase})
    for reason in ("RingFormed", "ProgramSucceeded"):
        await events.show(ref, Event("Normal", reason, "words of the usual length of such a message"))


async def patch(api: KubernetesApi, name: str, status: dict[str, Any]) -> None:
    await api.patch(JOBS, NAMESPACE, name, [{"op": "add", "path": "/status", "value": status}], "status")


async def main(jobs: int, workers: int) -> None:
    api = await KubernetesApi.connect()
    events = Events(api)
    await some_at_once(range(jobs), lambda number: write_job(api, events, f"job-{number}", workers))
    await api.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=int)
    parser.add_argument("workers", type=int)
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.workers))
