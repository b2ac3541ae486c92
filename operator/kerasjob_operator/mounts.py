"""Why volumes of pods cannot be mounted, in the kubelet's words: it says so in Events alone.

They are asked for where a pod waits for its containers longer than it should: one request for a namespace, and not
again for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from kerasjob_core.observed import Waiting
from kerasjob_core.times import from_rfc3339
from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.events import EVENTS
from kerasjob_operator.refusals import FAILED_MOUNT
from kerasjob_operator.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.5
PATIENCE_SECONDS = 10.0  # how long a pod may wait before anybody asks
ASK_AGAIN_SECONDS = 15.0
# The kubelet tries again after two minutes at the most: what was said longer ago holds no more.
OLD_SECONDS = 150.0
SELECTOR = f"involvedObject.kind=Pod,reason={FAILED_MOUNT}"


class Mounts:
    """Keeps the store told of volumes that cannot be mounted."""

    def __init__(
        self,
        api: KubernetesApi,
        store: Store,
        is_leading: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._store = store
        self._is_leading = is_leading
        self._clock = clock
        self._since: dict[str, float] = {}  # by pod uid
        self._asked: dict[str, float] = {}  # by namespace

    async def run(self) -> None:
        """For ever, while this operator leads."""
        while True:
            if self._is_leading():
                await self.round()
            await asyncio.sleep(LOOK_SECONDS)

    async def round(self) -> None:
        """Asks for the events of each namespace where a pod has waited for long."""
        now = self._clock()
        pods = self._store.pods_being_made()
        self._since = {uid: self._since.get(uid, now) for uid in pods}
        late = {key[0] for uid, (key, _) in pods.items() if now - self._since[uid] >= PATIENCE_SECONDS}
        self._asked = {ns: at for ns, at in self._asked.items() if now - at < ASK_AGAIN_SECONDS}
        for namespace in sorted(late - self._asked.keys()):
            self._asked[namespace] = now
            try:
                words = await self._words(namespace)
            except ApiError as error:
                log.warning("why pods of %s wait cannot be read: %s", namespace, error)
                continue
            for uid, message in words.items():
                if uid in pods:
                    self._store.put_trouble(*pods[uid], uid, Waiting(FAILED_MOUNT, message))

    async def _words(self, namespace: str) -> dict[str, str]:
        """The newest word on each pod, by uid."""
        newest: dict[str, tuple[str, str]] = {}

        def take(event: dict[str, Any]) -> None:
            said = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            # One try fails now and then while a cache is filled.
            if int(event.get("count") or 1) > 1 and time.time() - from_rfc3339(said) < OLD_SECONDS:
                uid = event["involvedObject"].get("uid", "")
                newest[uid] = max(newest.get(uid, ("", "")), (said, event.get("message", "")))

        await self._api.list_all(EVENTS, namespace, take, fields=SELECTOR)
        return {uid: message for uid, (_, message) in newest.items()}
