"""What kopf calls: events go into the store, nothing else.

Low-level handlers only: they write nothing to the objects.
"""

from __future__ import annotations

import logging
from typing import Any

import kopf

from kerasjob_api import constants as c
from kerasjob_api.constants import Label
from kerasjob_operator.store import Store, pod_key

OURS = f"{Label.MANAGED_BY}={Label.MANAGED_BY_VALUE}"


class _KeepNothing(kopf.ProgressStorage, kopf.DiffBaseStorage):
    """Only event handlers run: there is no progress to keep on the objects."""

    def fetch(self, **_: Any) -> None:
        """Nothing is kept."""

    def store(self, **_: Any) -> None:
        """Nothing is kept."""

    def purge(self, **_: Any) -> None:
        """Nothing is kept."""

    def touch(self, **_: Any) -> None:
        """Nothing is kept."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing was added."""
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """Settings of kopf: no scanning, no events of its own, bounded waits."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.level = logging.WARNING
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    # On the server's side: a cluster has many more pods than ours.
    settings.watching.label_selectors["v1", "pods"] = OURS
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    settings.persistence.progress_storage = settings.persistence.diffbase_storage = _KeepNothing()
    settings.peering.standalone = True
    return settings


def register(store: Store) -> kopf.OperatorRegistry:
    """The handlers, bound to a store."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(c.GROUP, c.VERSION, c.PLURAL, registry=registry)
    async def job(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type == "DELETED":
            store.drop_job((body["metadata"]["namespace"], body["metadata"]["name"]), body["metadata"]["uid"])
        else:
            store.put_job(dict(body))

    @kopf.on.event("v1", "pods", labels={Label.MANAGED_BY: Label.MANAGED_BY_VALUE}, registry=registry)
    async def pod(type: str | None, body: kopf.Body, **_: Any) -> None:
        key = pod_key(dict(body))
        if type == "DELETED" and key is not None:
            store.drop_pod(key, body["metadata"]["name"], body["metadata"]["uid"])
        else:
            store.put_pod(dict(body))

    return registry
