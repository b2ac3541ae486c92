"""Files that a program makes in its working directory are part of its state: logs of callbacks, best models, exports.

They go into each checkpoint as an archive, and are put back, as they were then, before the program goes on; what was
written since is taken away. What was staged, links, and other file systems (mounted volumes) are left alone, and so are
files that were there then and that the checkpoint does not hold.
Used by the agent, which puts them back, and the session, which packs them.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR

# Names which archive of a checkpoint each file is in; null: in none. All of it is null where that could not be told.
INDEX = "outputs.json"
# Of one checkpoint; what is larger is left out, the largest first.
MAX_BYTES = 2 * 1024**3

_NO_OUTPUT = ("__pycache__",)


def remember_staged(program_dir: Path, record: Path) -> None:
    """Notes what is there before the program has run."""
    record.write_text(json.dumps(sorted(_names(program_dir))))


def made(program_dir: Path, record: Path) -> dict[str, Path]:
    """Files that the program has made, by their path in its directory."""
    staged = _staged(program_dir, record)
    return {name: program_dir / name for name in _names(program_dir) if name not in staged}


def _staged(program_dir: Path, record: Path) -> set[str]:
    """What was there before the program had run."""
    return set(json.loads(record.read_text())) if record.exists() else set(_names(program_dir))


def archive_name(number: int) -> str:
    """What is in a checkpoint besides the index; the same name is the same content, within one trainer."""
    return f"outputs-{number}.tar"


def is_archive(name: str) -> bool:
    """Whether a file of a checkpoint holds files of the program."""
    return name.startswith("outputs-") and name.endswith(".tar")


def without_the_largest(sizes: dict[str, int]) -> tuple[list[str], list[str]]:
    """The names of those that are part of a checkpoint, and of those that are not."""
    kept, left_out = dict(sizes), []
    while sum(kept.values()) > MAX_BYTES:
        left_out.append(max(kept, key=lambda name: kept[name]))
        del kept[left_out[-1]]
    return sorted(kept), left_out


def pack(program_dir: Path, names: list[str], archive: Path) -> list[str]:
    """Writes an archive of files of the program, whole or not at all; answers the names of those that are in it: what
    has gone meanwhile, or cannot be read, is not. Raises OSError."""
    packed = []
    try:
        with tarfile.open(archive, "w", dereference=True) as tar:  # a file of two names is two files
            for name in names:
                try:
                    file = (program_dir / name).open("rb")
                except OSError:
                    continue
                with file:
                    tar.addfile(tar.gettarinfo(arcname=name, fileobj=file), file)
                packed.append(name)
    except OSError:
        archive.unlink(missing_ok=True)
        raise
    return packed


def put_back(program_dir: Path, record: Path, checkpoint: Path | None) -> None:
    """Has the directory as it was when a checkpoint was taken, whose files are in a folder; as it was staged, without
    one. Raises ValueError where that holds what is no file of the directory."""
    staged, index = _staged(program_dir, record), _index(checkpoint)
    if index is None:
        return
    for name, path in made(program_dir, record).items():
        if index.get(name, "") is not None:
            path.unlink()
    where: dict[str, list[str]] = {}
    for name, archive in index.items():
        if archive is not None:
            where.setdefault(archive, []).append(name)
    for archive, names in where.items():
        assert checkpoint is not None
        with tarfile.open(checkpoint / archive) as tar:
            for name in names:
                _extract(tar, tar.getmember(name), program_dir, staged)


def _index(checkpoint: Path | None) -> dict[str, str | None] | None:
    """What was there when a checkpoint was taken, and which archive it is in; None where that could not be told."""
    if checkpoint is None or not (checkpoint / INDEX).exists():
        return {}
    index: dict[str, str | None] | None = json.loads((checkpoint / INDEX).read_text())
    return index


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, program_dir: Path, staged: set[str]) -> None:
    """A regular file inside of the directory that was not staged, and nothing else. (`tarfile`'s own filters came with
    Python 3.11.4.)"""
    target = program_dir / member.name
    content = tar.extractfile(member) if member.isfile() else None
    inside = target.resolve().is_relative_to(program_dir.resolve())
    if content is None or not inside or os.path.normpath(member.name) in staged:
        raise ValueError(f"an archive of outputs has {member.name!r}, which is no file of the program's directory")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
    os.utime(target, (member.mtime, member.mtime))


def _names(program_dir: Path) -> Iterator[str]:
    device = program_dir.stat().st_dev
    for folder, folders, files in os.walk(program_dir):
        here = Path(folder)
        folders[:] = [name for name in folders if name not in _NO_OUTPUT and _is_of(device, here / name)]
        for name in files:
            path = here / name
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(program_dir))


def _is_of(device: int, folder: Path) -> bool:
    """Whether a folder, no link to one, is on a file system; not if it has gone meanwhile."""
    try:
        stat = folder.lstat()
    except FileNotFoundError:
        return False
    return S_ISDIR(stat.st_mode) and stat.st_dev == device
