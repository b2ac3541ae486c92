"""Where checkpoints and data lie: a directory or S3, behind one small interface. `open_store` chooses.

Used by the agent alone, never by the trainer. Knows nothing of manifests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from kerasjob_api.wire import S3Access


class StoreError(Exception):
    """The store said no. The message is for the user: what was asked of whom, what was answered, what to check."""


@dataclass(frozen=True)
class Entry:
    """One stored object."""

    key: str
    num_bytes: int


class Store(Protocol):
    """Objects by key below one URI. Every method raises StoreError."""

    uri: str

    def put_file(self, key: str, path: Path) -> None:
        """Stores a file's content."""

    def copy(self, source: str, key: str, path: Path) -> bool:
        """Stores a file's content, as a copy that the store makes of what is there by another key; False where it
        cannot, has no such key, or something else there."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Stores the content unless the key is there; answers whether it was stored. Atomic where the store can."""

    def get(self, key: str) -> bytes | None:
        """The content, None where there is no such key."""

    def get_file(self, key: str, path: Path) -> bool:
        """Brings an object to a local path, whole or not at all; False where there is no such key."""

    def entries(self, prefix: str) -> list[Entry]:
        """All objects whose key begins with the prefix, by key."""

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; those that are not there are fine."""

    def delete_unfinished(self) -> None:
        """Deletes what writers that were killed have left half written."""


@runtime_checkable
class PartStore(Protocol):
    """A store in which several can write one object, each its parts. Every method raises StoreError."""

    def begin_parts(self, key: str) -> str:
        """Begins an object; answers by what its parts are known."""

    def put_part(self, key: str, upload: str, number: int, content: bytes) -> str:
        """Stores a part, by its number from 1; answers its tag. All but the last have 5 MiB at least."""

    def end_parts(self, key: str, upload: str, tags: list[str]) -> None:
        """Makes the object of all its parts. It is there whole or not at all."""

    def drop_parts(self, key: str, upload: str) -> None:
        """Gives the object up. Never raises."""


def local_path(uri: str) -> Path | None:
    """The path that a plain path or `file://` URI names; None for S3. Raises StoreError for others."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if "://" not in uri:
        return Path(uri)
    if uri.startswith("s3://"):
        return None
    raise StoreError(f"{uri}: this kind of store is not supported; use s3://bucket/prefix, file:///directory or a path")


def open_store(uri: str, s3: S3Access, s3_dir: Path) -> Store:
    """The store at a URI. Keys are relative to it. Raises StoreError."""
    path = local_path(uri)
    if path is not None:
        from kerasjob_trainer.store.directory import DirectoryStore

        return DirectoryStore(path)
    from kerasjob_trainer.store.s3 import S3Store  # boto3 takes half a second to import

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Store(bucket, prefix, s3, s3_dir)
