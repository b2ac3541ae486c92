"""Data: brought from S3 or a directory to the path that the program reads. Called by the agent's staging.

Workers on one machine may share a path: every file appears whole, under its name.
"""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath

from kerasjob_api.wire import DataSource, S3Access
from kerasjob_trainer.store import StoreError, local_path, open_store
from kerasjob_trainer.store.directory import copy_file


def stage(source: DataSource, s3: S3Access, s3_dir: Path) -> list[Path]:
    """Brings one data source to its path; answers the files. Raises StoreError with words for the user."""
    target = Path(source.path)
    _check_writable(target)
    local = local_path(source.uri)
    try:
        if local is not None:
            return _copy(source, local, target)
        return _download(source, target, s3, s3_dir)
    except OSError as error:
        raise StoreError(
            f"data {source.uri}: cannot be brought to {source.path}: {error.strerror or error}"
            + (f" ({error.filename})" if error.filename else "")
        ) from error


def _check_writable(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"data[].path {target}: the directory {error.filename or target.parent} cannot be made here:"
            f" {error.strerror}; choose a path that the worker's user may write, or mount a volume there"
        ) from error


def link(source: DataSource, program_dir: Path) -> None:
    """Makes `data/NAME` of the program's working directory lead there, where NAME is the last part of the path.

    So a program reads the same relative path in a pod, on a laptop and without us. What the program brought stays.
    """
    target = Path(source.path)
    place = program_dir / "data" / target.name
    if target.name and not place.exists() and not place.is_symlink():
        with contextlib.suppress(OSError):  # a program directory that cannot be written has its reasons
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target.absolute())


def _copy(source: DataSource, local: Path, target: Path) -> list[Path]:
    if local.is_file():
        return [_copy_one(local, _file_target(source, local.name))]
    if not local.is_dir():
        raise StoreError(f"data {source.uri}: there is no such file or directory in the worker")
    files = [path for path in sorted(local.rglob("*")) if path.is_file()]
    if not files:
        raise StoreError(f"data {source.uri}: the directory is empty")
    return [_copy_one(path, target / path.relative_to(local)) for path in files]


def _copy_one(source: Path, target: Path) -> Path:
    """Leaves alone what is there with the same size and time stamp: the source itself, or another worker's copy."""
    if target.is_file():
        here, there = source.stat(), target.stat()
        if (here.st_size, int(here.st_mtime)) == (there.st_size, int(there.st_mtime)):
            return target
    copy_file(source, target)
    return target


def _download(source: DataSource, target: Path, s3: S3Access, s3_dir: Path) -> list[Path]:
    bucket, _, key = source.uri.removeprefix("s3://").partition("/")
    store = open_store(f"s3://{bucket}/", s3, s3_dir)
    entries = [e for e in store.entries(key) if not e.key.endswith("/")]
    if not key.endswith("/") and key:
        exact = [e for e in entries if e.key == key]
        if exact:
            path = _file_target(source, PurePosixPath(key).name)
            store.get_file(key, path)
            return [path]
        key += "/"
    files = [e for e in entries if e.key.startswith(key)]
    if not files:
        raise StoreError(f"data {source.uri}: bucket {bucket!r} has no object under {key!r}; check the URI")
    paths = []
    for entry in files:
        path = target / _inside(entry.key[len(key) :], source.uri)
        if not store.get_file(entry.key, path):
            raise StoreError(f"data {source.uri}: object {entry.key!r} vanished while it was being staged")
        paths.append(path)
    return paths


def _inside(name: str, uri: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StoreError(f"data {uri}: object name {name!r} leads out of the target directory")
    return path


def _file_target(source: DataSource, name: str) -> Path:
    """An object goes to the path itself, or into it where it is a directory."""
    target = Path(source.path)
    return target / name if source.path.endswith("/") or target.is_dir() else target
