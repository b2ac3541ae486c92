"""What a full listing says: which objects there were at a version. The objects were given away one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasjob_operator.metrics import UNREADABLE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """Uids of a collection's objects, and the version of which they are."""

    uids: frozenset[str]
    version: int


def take_over(plural: str, body: dict[str, Any], take: Callable[[dict[str, Any]], None]) -> None:
    """Gives an object away. One that cannot be taken over is passed by: it must not keep the others from it."""
    try:
        take(body)
    except Exception:
        UNREADABLE.labels(plural).inc()
        metadata = body.get("metadata") or {}
        log.exception("%s %s/%s cannot be read", plural, metadata.get("namespace"), metadata.get("name"))
