"""What kopf calls: events of jobs go into the store, nothing else. Pods have a watch of their own.

Low-level handlers only: they write nothing to the objects.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import kopf

from kerasjob_api import constants as c
from kerasjob_operator.hearing import Hearing
from kerasjob_operator.listing import take_over
from kerasjob_operator.metrics import LAST_EVENT
from kerasjob_operator.store import Store


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

    def build(self, **_: Any) -> Any:
        """Nothing is compared: no copy of the object is made for it."""
        return {}

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
    settings.watching.reconnect_backoff = 2
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    settings.persistence.progress_storage = settings.persistence.diffbase_storage = _KeepNothing()
    settings.peering.standalone = True
    return settings


def register(
    store: Store, hearing: Hearing, call: Callable[..., None] = lambda function, *arguments: function(*arguments)
) -> kopf.OperatorRegistry:
    """The handlers, bound to a store. `call`: calls a function where the store lives, which may be another thread."""
    registry = kopf.OperatorRegistry()

    def take(kind: str | None, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        hearing.hear(int(metadata["resourceVersion"]))
        if kind == "DELETED":
            store.drop_job((metadata["namespace"], metadata["name"]), metadata["uid"])
        else:
            store.put_job(body)

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(c.GROUP, c.VERSION, c.PLURAL, registry=registry)
    async def job(type: str | None, body: kopf.Body, **_: Any) -> None:
        LAST_EVENT.labels(c.PLURAL).set(time.time())
        call(take_over, c.PLURAL, dict(body), functools.partial(take, type))

    return registry
