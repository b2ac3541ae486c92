"""Kubernetes Events of jobs: one for each thing that is said, counted where it is said again.

An event's name follows from what it says, so that a repeated one is found, also by an operator that did not make it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from kerasjob_api import constants as c
from kerasjob_core.observed import JobRef
from kerasjob_core.plan import Event
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource

EVENTS = Resource("api/v1", "events")
COMPONENT = "kerasjob-operator"
MESSAGE_MAX = 1024  # the API server takes no more


class Events:
    """Sends events."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def show(self, job: JobRef, event: Event) -> None:
        """Makes the event, or counts it once more. Raises ApiError."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = _body(job, event, now)
        name = body["metadata"]["name"]
        try:
            await self._api.create(EVENTS, job.namespace, body)
        except ApiError as error:
            if error.code != 409:
                raise
            count = int((await self._api.get(EVENTS, job.namespace, name)).get("count") or 1) + 1
            changes = {"/count": count, "/lastTimestamp": now}
            patch = [{"op": "add", "path": path, "value": value} for path, value in changes.items()]
            await self._api.patch(EVENTS, job.namespace, name, patch)


def _body(job: JobRef, event: Event, now: str) -> dict[str, Any]:
    said = "\0".join((job.uid, event.type, event.reason, event.message))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{job.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": job.namespace,
        },
        "involvedObject": {
            "apiVersion": c.API_VERSION,
            "kind": c.KIND,
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:MESSAGE_MAX],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": COMPONENT},
    }
