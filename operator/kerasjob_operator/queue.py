"""The work queue: each job at most once in it, due at a time, with back-off after errors.

Never two passes of one job at once.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Callable
from typing import TypeVar

from kerasjob_operator.metrics import QUEUE_DEPTH, QUEUE_LATENCY, QUEUE_RETRIES

BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 60.0

Key = tuple[str, str]
T = TypeVar("T")


class WorkQueue:
    """Keys with the time at which they are due. Not thread-safe: one event loop."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._active: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        QUEUE_DEPTH.set_function(self.depth)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Makes a key due after a delay, or sooner where it is due sooner already."""
        due = self._clock() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._wake.set()

    def retry(self, key: Key, at_least: float | None = None) -> None:
        """Makes a key due after its back-off, which doubles with each error in a row."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_FIRST_SECONDS * 2 ** min(failures, 16), BACKOFF_MAX_SECONDS) * (0.5 + self._jitter() / 2)
        QUEUE_RETRIES.inc()
        self.add(key, max(delay, at_least or 0.0))

    def succeeded(self, key: Key) -> None:
        """Forgets the errors of a key."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """The next due key; it is active until `release`."""
        while True:
            wait = self._next_wait()
            if wait is not None and wait <= 0:
                due, key = heapq.heappop(self._heap)
                del self._due[key]
                self._active.add(key)
                QUEUE_LATENCY.observe(max(0.0, self._clock() - due))
                return key
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    def release(self, key: Key) -> None:
        """The pass over the key is over; what was added meanwhile may be taken."""
        self._active.discard(key)
        if key in self._due:
            heapq.heappush(self._heap, (self._due[key], key))
        self._wake.set()

    def depth(self) -> float:
        """How many keys are due."""
        now = self._clock()
        return float(sum(due <= now for due in self._due.values()))

    def oldest_overdue_seconds(self) -> float:
        """How long the oldest due key has waited; 0 where none is due."""
        return max(0.0, self._clock() - min(self._due.values())) if self._due else 0.0

    def _next_wait(self) -> float | None:
        """Seconds until the next key is due, None where there is none. Drops heap entries that no longer count."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due or key in self._active:
                heapq.heappop(self._heap)  # superseded, or pushed again by `release`
                continue
            return due - self._clock()
        return None
