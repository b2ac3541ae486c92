"""The program's files at a snapshot, in archives: a file is packed again where it has changed. Used by the session.

An archive that a checkpoint shares with the one before is the same file: the agent neither reads nor sends it twice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerasjob_trainer import outputs
from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec

# With more archives, or more than twice what is in use, all is packed anew.
ARCHIVES_MAX = 16
UNUSED_RATIO = 2.0
SLACK_BYTES = 1024**2  # of small files not worth it


@dataclass(frozen=True)
class _Packed:
    """A file as it was packed."""

    archive: str
    size: int
    changed: int  # nanoseconds


class Outputs:
    """Of one trainer."""

    def __init__(self, spec: RunSpec) -> None:
        self._program_dir, self._staged = Path(spec.program_dir), Path(spec.staged)
        self._archives = Path(spec.archives)
        self._numbers = itertools.count()
        self._packed: dict[str, _Packed] = {}  # what is there now
        self._sizes: dict[str, int] = {}  # of archives
        self._left_out: dict[str, list[str]] = {}  # by why; as it was said last

    def pack(self, callbacks: list[Any]) -> list[Path]:
        """The files of the snapshot as of now; none where the program has made nothing. Raises OSError where not even
        that can be said that they cannot be told."""
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.TensorBoard):
                for writer in callback._writers.values():
                    writer.flush()
        try:
            return self._pack()
        except OSError as error:  # a full disk, or a file that the program is just cutting short
            log.warning("the program's files are not part of the checkpoint: %s", error)
            self._packed = {}
            return [self._write_index(None)]

    def _pack(self) -> list[Path]:
        stats = self._stats()
        names, left_out = outputs.without_the_largest({name: stat.st_size for name, stat in stats.items()})
        self._say_left_out("too large", left_out)
        kept = set(names)
        same = {
            name: packed
            for name, packed in self._packed.items()
            if name in kept and (packed.size, packed.changed) == (stats[name].st_size, stats[name].st_mtime_ns)
        }
        if len(same) < len(names):
            if self._is_wasteful(same):
                same = {}
            self._archives.mkdir(parents=True, exist_ok=True)
            archive = outputs.archive_name(next(self._numbers))
            new = [name for name in names if name not in same]
            packed = outputs.pack(self._program_dir, new, self._archives / archive)
            self._sizes[archive] = (self._archives / archive).stat().st_size
            same |= {name: _Packed(archive, stats[name].st_size, stats[name].st_mtime_ns) for name in packed}
            unread = sorted(self._stats().keys() & (set(new) - set(packed)))  # the others have just gone
            self._say_left_out("not readable", unread)
            left_out += unread
        self._packed = same
        return self._files(left_out)

    def _say_left_out(self, why: str, names: list[str]) -> None:
        if names != self._left_out.get(why, []):
            self._left_out[why] = list(names)
            log.warning("not part of checkpoints, for they are %s: %s", why, ", ".join(names) or "nothing any more")

    def _stats(self) -> dict[str, os.stat_result]:
        """Of what the program has made; without what has just gone."""
        stats = {}
        for name, path in outputs.made(self._program_dir, self._staged).items():
            with contextlib.suppress(FileNotFoundError):
                stats[name] = path.stat()
        return stats

    def _is_wasteful(self, packed: dict[str, _Packed]) -> bool:
        in_use = {one.archive for one in packed.values()}
        held, used = sum(self._sizes[archive] for archive in in_use), sum(one.size for one in packed.values())
        return len(in_use) >= ARCHIVES_MAX or held > UNUSED_RATIO * used + SLACK_BYTES

    def _files(self, left_out: list[str]) -> list[Path]:
        """Archives in use, and the index; the rest goes: what is held of it has links of its own."""
        in_use = sorted({packed.archive for packed in self._packed.values()})
        for archive in set(self._sizes) - set(in_use):
            (self._archives / archive).unlink(missing_ok=True)
            del self._sizes[archive]
        if not self._packed and not left_out:
            return []
        where = {name: packed.archive for name, packed in self._packed.items()} | dict.fromkeys(left_out)
        return [self._write_index(where), *(self._archives / archive for archive in in_use)]

    def _write_index(self, where: Mapping[str, str | None] | None) -> Path:
        self._archives.mkdir(parents=True, exist_ok=True)
        index = self._archives / outputs.INDEX
        index.unlink(missing_ok=True)  # not written over: that before is linked to
        index.write_text(json.dumps(where, sort_keys=True))
        return index
