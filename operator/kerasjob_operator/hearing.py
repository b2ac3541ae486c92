"""Whether a watch tells what there is to tell: one that is idle looks the same as one that is dead.

Versions of all objects of a kind go up together, so that the newest one heard says how far a watch has come. What a
full listing finds beyond that should be heard at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from kerasjob_operator.metrics import MISSED_EVENTS

# A watch that is this far behind is taken for dead. kopf may take a while to go through ten thousand jobs.
DEAF_SECONDS = 120.0


class Hearing:
    """What one watch has told, beside what listings found."""

    def __init__(self, plural: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._plural = plural
        self._clock = clock
        self._heard = 0
        self._awaited: list[int] = []
        self._behind_since: float | None = None
        self._has_begun = False

    def begin(self) -> None:
        """The watch is started: from now on it should tell something."""
        self._has_begun = True

    def hear(self, version: int) -> None:
        """The watch has told of an object at a version, or is to tell of what comes after it."""
        self._heard = max(self._heard, version)
        if self._awaited and self._heard >= max(self._awaited):
            self._awaited, self._behind_since = [], None

    def listed(self, versions: Iterable[int]) -> int:
        """A full listing found objects at these versions; how many of the one before are still not heard of."""
        if not self._has_begun:
            return 0
        missed = sum(version > self._heard for version in self._awaited)
        MISSED_EVENTS.labels(self._plural).inc(missed)
        self._awaited = [version for version in versions if version > self._heard]
        if not self._awaited:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._clock()
        return missed

    @property
    def is_deaf(self) -> bool:
        """Whether it should have told something long ago."""
        return self._behind_since is not None and self._clock() - self._behind_since > DEAF_SECONDS
