"""Digests of files that never change, and are part of many checkpoints by links: each is read once.

Used by the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

DIGESTS_MAX = 256


class OncePerFile:
    """A digest by the file, whatever its name."""

    def __init__(self, digest: Callable[[Path], str]) -> None:
        self._digest = digest
        self._known: dict[tuple[int, ...], str] = {}

    def __call__(self, path: Path) -> str:
        """Raises OSError."""
        stat = path.stat()
        key = stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
        if key not in self._known:
            while len(self._known) >= DIGESTS_MAX:
                del self._known[next(iter(self._known))]  # the oldest; it can be read again
            self._known[key] = self._digest(path)
        return self._known[key]
