"""Looks every few minutes for jobs whose NetworkPolicy somebody deleted: their TensorFlow ports are open to all.

One listing for all jobs. Where one is missing, the next pass makes what pods need once more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from kerasjob_api.constants import Label
from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.pod_watch import OURS
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

NETWORK_POLICIES = Resource("apis/networking.k8s.io/v1", "networkpolicies")


async def run(api: KubernetesApi, store: Store, namespace: str | None, resync_seconds: float) -> None:
    """For ever."""
    while True:
        try:
            await check(api, store, namespace)
        except ApiError as error:
            log.warning("network policies of %s could not be listed: %s", namespace or "all namespaces", error)
        await asyncio.sleep(resync_seconds)


async def check(api: KubernetesApi, store: Store, namespace: str | None) -> None:
    """Once. Raises ApiError."""
    began, there = time.monotonic(), set()

    def take(body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        labels = metadata["labels"]
        if metadata["name"] == labels.get(Label.JOB):  # not TensorBoard's
            there.add(labels.get(Label.JOB_UID))

    await api.list_all(NETWORK_POLICIES, namespace, take, OURS)
    for key in store.miss_base(there, began, namespace):
        log.warning("%s/%s: its network policy is gone and is made again", *key)
