"""Which of several operators acts: the one that holds the Lease. The others keep their stores warm and wait.

The holder renews it every second. Who cannot for RENEW_SECONDS stops writing, by a clock that nobody sets; who sees it
unchanged for LEASE_SECONDS, by its own clock, takes it. So no two believe to hold it, wherever the wall clocks stand.
An operator that ends on purpose gives it back, one that is started again under its old name has it at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kerasjob_operator.api_client import ApiError, KubernetesApi, Resource
from kerasjob_operator.metrics import IS_LEADER

log = logging.getLogger(__name__)

LEASES = Resource("apis/coordination.k8s.io/v1", "leases")
NAME = "kerasjob-operator"
LEASE_SECONDS = 8
RENEW_SECONDS = 5.0
RETRY_SECONDS = 1.0


class Lease:
    """One operator's view of the Lease. `on_acquired` is called each time that it becomes the holder."""

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        identity: str,
        on_acquired: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._on_acquired = on_acquired
        self._clock = clock
        self._held_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)  # a version of the Lease, and since when it has not changed
        self._was_held = False
        self.changed = asyncio.Condition()

    def is_held(self) -> bool:
        """Whether this operator may write now."""
        return self._clock() < self._held_until

    async def until_held(self) -> None:
        """Waits until this operator may write."""
        async with self.changed:
            await self.changed.wait_for(self.is_held)

    async def run(self) -> None:
        """Holds the Lease, or tries to, for ever."""
        while True:
            try:
                await asyncio.wait_for(self.round(), RENEW_SECONDS)
            except (ApiError, TimeoutError) as error:
                log.warning(
                    "the lease could not be renewed or read: %s", str(error) or "the API server does not answer"
                )
            await self._tell()
            await asyncio.sleep(RETRY_SECONDS)

    async def round(self) -> None:
        """Renews the Lease, or takes one that is free or has not been renewed for too long."""
        began = self._clock()
        try:
            lease = await self._api.get(LEASES, self._namespace, NAME)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._write(self._body({}, taken=True), began, create=True)
            return
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder == self._identity:
            await self._write(self._body(lease, taken=False), began)
        elif not holder or self._is_stale(lease["metadata"]["resourceVersion"], spec):
            log.info("takes the lease%s", f" that {holder} has not renewed" if holder else "")
            await self._write(self._body(lease, taken=True), began)

    async def release(self) -> None:
        """Gives the Lease back, so that another operator need not wait for its end."""
        if not self.is_held():
            return
        self._held_until = 0.0
        try:
            lease = await self._api.get(LEASES, self._namespace, NAME)
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                body = self._body(lease, taken=False)
                body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._api.replace(LEASES, self._namespace, NAME, body)
        except ApiError as error:
            log.warning("the lease could not be given back: %s", error)

    def _is_stale(self, version: str, spec: dict[str, Any]) -> bool:
        # From when the answer was here, not from when it was asked for: the holder may have renewed it in between.
        now = self._clock()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] >= int(spec.get("leaseDurationSeconds") or LEASE_SECONDS)

    async def _write(self, body: dict[str, Any], began: float, *, create: bool = False) -> None:
        try:
            if create:
                await self._api.create(LEASES, self._namespace, body)
            else:
                await self._api.replace(LEASES, self._namespace, NAME, body)
        except ApiError as error:
            if error.code != 409:
                raise
            return  # another operator was first
        # Counted from before the request: the others may have seen it as early as that.
        self._held_until = began + RENEW_SECONDS

    def _body(self, lease: dict[str, Any], *, taken: bool) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = dict(lease.get("spec") or {})
        if taken:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + bool(lease)}
        spec |= {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        metadata = {"name": NAME, "namespace": self._namespace}
        if lease:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}

    async def _tell(self) -> None:
        held = self.is_held()
        IS_LEADER.set(held)
        if held and not self._was_held:
            log.info("leads as %s", self._identity)
            self._on_acquired()
        elif self._was_held and not held:
            log.warning("does not lead any more")
        self._was_held = held
        async with self.changed:
            self.changed.notify_all()
