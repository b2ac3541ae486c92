"""The work queue: each job at most once in it, due at a time, with back-off after errors.

Never two passes of one job at once.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

from kerasjob_operator.metrics import QUEUE_DEPTH, QUEUE_LATENCY, QUEUE_RETRIES

BACKOFF_FIRST_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 60.0
URGENT_IN_A_ROW = 3
HEAP_SLACK = 64  # entries that count no more, before a heap is made anew

Key = tuple[str, str]
T = TypeVar("T")


class WorkQueue:
    """Keys with the time at which they are due. Not thread-safe: one event loop.

    `is_urgent`: whether somebody waits for what the key's next pass does, as for a suspension. Among keys that are due
    those go first, but for every fourth pass, so that the others are never left.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        is_urgent: Callable[[Key], bool] = lambda _key: False,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self.is_urgent = is_urgent
        self._due: dict[Key, float] = {}
        self._urgent: set[Key] = set()  # of those in `_due`
        self._lanes: dict[bool, list[tuple[float, Key]]] = {True: [], False: []}  # heaps; also with what is superseded
        self._urgent_in_a_row = 0
        self._active: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        QUEUE_DEPTH.set_function(self.depth)

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Makes a key due after a delay, or sooner where it is due sooner already."""
        due = self._clock() + delay
        urgent = delay <= 0 and key not in self._urgent and self.is_urgent(key)
        if self._due.get(key, math.inf) <= due and not urgent:
            return
        self._due[key] = min(due, self._due.get(key, math.inf))
        if urgent:
            self._urgent.add(key)
        if key not in self._active:  # else `release` does
            self._push(key)

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
            waits = {urgent: self._next_wait(urgent) for urgent in self._lanes}
            if min(waits.values()) <= 0:
                return self._take(self._goes_first(waits))
            self._wake.clear()
            wait = min(waits.values())
            try:
                await asyncio.wait_for(self._wake.wait(), None if wait == math.inf else wait)
            except TimeoutError:
                continue

    def release(self, key: Key) -> None:
        """The pass over the key is over; what was added meanwhile may be taken."""
        self._active.discard(key)
        if key in self._due:
            self._push(key)

    def depth(self) -> float:
        """How many keys are due."""
        now = self._clock()
        return float(sum(due <= now for due in self._due.values()))

    def oldest_overdue_seconds(self) -> float:
        """How long the oldest due key has waited; 0 where none is due."""
        return max(0.0, self._clock() - min(self._due.values())) if self._due else 0.0

    def _goes_first(self, waits: dict[bool, float]) -> bool:
        """The lane to take from, of those where something is due."""
        if waits[True] > 0 or waits[False] > 0:
            return waits[True] <= 0
        return self._urgent_in_a_row < URGENT_IN_A_ROW

    def _take(self, urgent: bool) -> Key:
        due, key = heapq.heappop(self._lanes[urgent])
        self._urgent_in_a_row = self._urgent_in_a_row + 1 if urgent else 0
        del self._due[key]
        self._urgent.discard(key)
        self._active.add(key)
        QUEUE_LATENCY.observe(max(0.0, self._clock() - due))
        return key

    def _push(self, key: Key) -> None:
        lane = self._lanes[key in self._urgent]
        heapq.heappush(lane, (self._due[key], key))
        if len(lane) > 2 * len(self._due) + HEAP_SLACK:
            # What is due in a month and was made due before that stays in a heap for the month.
            lane[:] = {entry for entry in lane if self._counts(key in self._urgent, *entry)}
            heapq.heapify(lane)
        self._wake.set()

    def _counts(self, urgent: bool, due: float, key: Key) -> bool:
        """Whether an entry of a lane's heap says when and where its key is to be taken."""
        return self._due.get(key) == due and (key in self._urgent) == urgent and key not in self._active

    def _next_wait(self, urgent: bool) -> float:
        """Seconds until the next key of a lane is due, infinite where there is none. Drops what counts no more."""
        lane = self._lanes[urgent]
        while lane and not self._counts(urgent, *lane[0]):
            heapq.heappop(lane)
        return lane[0][0] - self._clock() if lane else math.inf
