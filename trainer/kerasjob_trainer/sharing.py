"""A large state goes to the store from all workers of a ring at once: each holds the same bytes, and sends its share.

The first worker begins an object of several parts, asks the others for theirs, sends its own, and ends the object. What
another one does not send in time, or holds otherwise, it sends itself: nothing depends on the others. What is stored is
one object, as if one worker had sent it. Called by the uploads, and by the server where the first worker asks.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kerasjob_trainer.log import log
from kerasjob_trainer.store import PartStore, Store

# Less is sent sooner than it is shared.
SHARED_MIN_BYTES = 16 * 1024**2
PART_BYTES = 8 * 1024**2
PARTS_MAX = 10_000  # of one object in S3
PARTS_AT_ONCE = 4
# Another worker has so much longer than this one took for its own share.
PATIENCE = 3.0
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Share:
    """Consecutive parts of a file. `first`: the number of the first part, from 1; `part_bytes`: of all but the last."""

    upload: str
    key: str
    first: int
    offset: int
    num_bytes: int
    part_bytes: int


@dataclass(frozen=True)
class Sent:
    """What came of a share: the tag of each part, and the digest of all."""

    tags: tuple[str, ...]
    sha256: str


class Helper(Protocol):
    """Another worker of the ring."""

    def send_share(self, id_: str, name: str, share: Share, timeout_seconds: float) -> Sent:
        """Has it send a share of a file of the state that it holds. Raises an Exception where it does not."""


def put(store: Store, key: str, path: Path, id_: str, name: str, helpers: Sequence[Helper]) -> None:
    """Stores a file of a state. Raises StoreError."""
    size = path.stat().st_size
    if not helpers or size < SHARED_MIN_BYTES or not isinstance(store, PartStore):
        store.put_file(key, path)
        return
    upload = store.begin_parts(key)
    try:
        own, *others = _shares(upload, key, size, 1 + len(helpers))
        tags = _all_parts(store, path, own, list(zip(helpers, others, strict=False)), id_, name)
        store.end_parts(key, upload, tags)
    except BaseException:
        store.drop_parts(key, upload)
        raise


def send(store: PartStore, path: Path, share: Share) -> Sent:
    """Sends a share of a file that is here. Raises StoreError, OSError."""
    digest = hashlib.sha256()
    tags: list[Future[str]] = []
    with path.open("rb") as file, ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        file.seek(share.offset)
        left, number = share.num_bytes, share.first
        while left > 0:
            content = file.read(min(share.part_bytes, left))
            if not content:
                raise OSError(f"{path.name} is shorter than it was said to be")
            digest.update(content)
            if len(tags) >= PARTS_AT_ONCE:  # so many are held in memory, and no more
                tags[-PARTS_AT_ONCE].result()
            tags.append(pool.submit(store.put_part, share.key, share.upload, number, content))
            left, number = left - len(content), number + 1
        return Sent(tuple(tag.result() for tag in tags), digest.hexdigest())


def _all_parts(
    store: PartStore, path: Path, own: Share, others: list[tuple[Helper, Share]], id_: str, name: str
) -> list[str]:
    started = time.monotonic()
    pool = ThreadPoolExecutor(max(1, len(others)))
    try:
        asked = [pool.submit(helper.send_share, id_, name, share, _timeout(share)) for helper, share in others]
        sent = [send(store, path, own)]
        deadline = time.monotonic() + (PATIENCE - 1) * (time.monotonic() - started) + PATIENCE_SECONDS
        for (_, share), answer in zip(others, asked, strict=True):
            sent.append(_by_other(answer, share, path, deadline) or send(store, path, share))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # one that hangs ends by its own time-out
    return [tag for each in sent for tag in each.tags]


def _by_other(answer: Future[Sent], share: Share, path: Path, deadline: float) -> Sent | None:
    """What another worker has sent; None where it must be sent here."""
    try:
        sent = answer.result(max(0.0, deadline - time.monotonic()))
    except Exception as error:
        log.info("another worker's share of a checkpoint is sent here: %s", str(error) or type(error).__name__)
        return None
    if sent.sha256 != _digest(path, share) or len(sent.tags) != math.ceil(share.num_bytes / share.part_bytes):
        log.warning("another worker holds another state than this one: its share of a checkpoint is sent here")
        return None
    return sent


def _digest(path: Path, share: Share) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(share.offset)
        left = share.num_bytes
        while left > 0 and (content := file.read(min(PART_BYTES, left))):
            digest.update(content)
            left -= len(content)
    return digest.hexdigest()


def _timeout(share: Share) -> float:
    """For a store that is very slow; one that hangs is given up long before."""
    return 60.0 + share.num_bytes / 1024**2


def _shares(upload: str, key: str, size: int, number: int) -> list[Share]:
    """Of about the same size, each of whole parts. As many as there are parts for."""
    part_bytes = max(PART_BYTES, math.ceil(size / PARTS_MAX))
    num_parts = math.ceil(size / part_bytes)
    bounds = [round(num_parts * i / number) for i in range(number + 1)]
    return [
        Share(upload, key, begin + 1, begin * part_bytes, min(end * part_bytes, size) - begin * part_bytes, part_bytes)
        for begin, end in itertools.pairwise(bounds)
        if end > begin
    ]
