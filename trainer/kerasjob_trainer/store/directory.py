"""A store in a directory: a volume, or a folder on this machine. Opened by `open_store`.

A file appears under its name only when it is whole: written beside it, flushed to the disk, then renamed or linked.
Where a file system has no links, one that must not be there yet is made empty first, which counts as not there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kerasjob_trainer.store import Entry, StoreError

_TEMPORARY = ".kerasjob-"
# What nobody has written to for so long, nobody writes any more.
UNFINISHED_SECONDS = 3600.0
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryStore:
    """See `Store`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"{root}/"

    def put_file(self, key: str, path: Path) -> None:
        with self._explained(f"write {key}"), self._temporary(key) as temporary:
            shutil.copyfile(path, temporary)
            _flush(temporary)
            temporary.replace(self.root / key)

    def copy(self, source: str, key: str, path: Path) -> bool:
        # A link would be cheap, and one fault of the disk that of all checkpoints that share it.
        return False

    def put_if_absent(self, key: str, content: bytes) -> bool:
        with self._explained(f"write {key}"), self._temporary(key) as temporary:
            temporary.write_bytes(content)
            _flush(temporary)
            try:
                _appear(temporary, self.root / key)
            except FileExistsError:
                return False
            _flush((self.root / key).parent)
            return True

    def get(self, key: str) -> bytes | None:
        with self._explained(f"read {key}"):
            try:
                return (self.root / key).read_bytes() or None
            except FileNotFoundError:
                return None

    def get_file(self, key: str, path: Path) -> bool:
        with self._explained(f"read {key}"):
            if not (self.root / key).is_file():
                return False
            copy_file(self.root / key, path)
            return True

    def entries(self, prefix: str) -> list[Entry]:
        with self._explained(f"list {prefix or 'it'}"):
            base = self.root / prefix.rpartition("/")[0]
            if not base.is_dir():
                return []
            found = [
                Entry(str(path.relative_to(self.root)), path.stat().st_size)
                for path in base.rglob("*")
                if path.is_file() and not path.name.startswith(_TEMPORARY)
            ]
            return sorted((e for e in found if e.key.startswith(prefix)), key=lambda e: e.key)

    def delete(self, keys: list[str]) -> None:
        with self._explained("delete"):
            for key in keys:
                (self.root / key).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty, or gone
                    (self.root / key).parent.rmdir()

    def delete_unfinished(self) -> None:
        with self._explained("delete"):
            for path in self.root.rglob(f"{_TEMPORARY}*"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > UNFINISHED_SECONDS:
                        path.unlink()

    @contextlib.contextmanager
    def _temporary(self, key: str) -> Iterator[Path]:
        folder = (self.root / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
        os.fchmod(descriptor, 0o644)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"directory {self.root}: cannot {what}: {error.strerror or error}; check that the volume is mounted and"
                " that the worker's user may write there"
            ) from error


def copy_file(source: Path, target: Path) -> None:
    """Copies a file so that the target is whole at any time; keeps the time stamp. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
    os.close(descriptor)
    try:
        shutil.copy2(source, name)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _appear(temporary: Path, target: Path) -> None:
    """Gives a file that is whole its name. Raises FileExistsError where that is taken, and other OSErrors."""
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        target.open("x").close()
        temporary.replace(target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
