"""What a full listing says: which objects there were at a version. The objects were given away one by one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Listing:
    """Uids of a collection's objects, and the version of which they are."""

    uids: frozenset[str]
    version: int
