"""Where `s3://` and data paths lead on a machine without a cluster. Used by the local body and checked before a start.

`s3://bucket/key` is a directory: the one that `--map s3://bucket/=DIR` names (the longest prefix wins), else
`<state>/s3/bucket/key`. With `--s3` what is not mapped is read from the real S3.

`data[].path` is kept where its parent is a directory that the user can write, since the program may read the path
literally. Else (`/data/mnist` on a laptop) the copy goes to `data/…` of the worker's own directory, and a warning says
so; `keras.datasets` finds its files either way, and the paths in a recipe follow.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

from kerasjob.errors import InvalidInput
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.wire import CheckpointConfig, DataSource, WorkerConfig


@dataclass(frozen=True)
class UriMap:
    """Directories that take the place of S3. `use_s3`: what is not mapped is the real S3."""

    state: Path
    prefixes: tuple[tuple[str, Path], ...] = ()
    use_s3: bool = False

    @classmethod
    def parse(cls, options: tuple[str, ...], state: Path, use_s3: bool) -> UriMap:
        """Reads `s3://bucket/prefix=DIR` options. Raises InvalidInput with all faults."""
        prefixes, faults = [], []
        for option in options:
            prefix, equals, directory = option.partition("=")
            if not equals or not prefix.startswith("s3://") or not directory:
                faults.append(f"expected s3://BUCKET/PREFIX=DIR, got {option!r}")
            else:
                prefixes.append((prefix, Path(directory).expanduser().absolute()))
        if faults:
            raise InvalidInput("--map", faults)
        return cls(state.absolute(), tuple(sorted(prefixes, key=lambda p: -len(p[0]))), use_s3)

    def local(self, uri: str) -> str:
        """The URI to use here: `file:///…`, or the same one where it stays on S3."""
        path = self.path(uri)
        if path is None:
            return uri
        return "file://" + quote(str(path)) + ("/" if uri.endswith("/") else "")

    def path(self, uri: str) -> Path | None:
        """The file or directory that a URI means here; None where it is on S3."""
        if uri.startswith("/"):
            return Path(uri)
        if uri.startswith("file://"):
            return Path(unquote(urlparse(uri).path))
        for prefix, directory in self.prefixes:
            rest = _below(uri, prefix)
            if rest is not None:
                return directory / rest if rest else directory
        return None if self.use_s3 else self.state / "s3" / uri.removeprefix("s3://")

    def is_mapped(self, uri: str) -> bool:
        """Whether a `--map` option covers the URI."""
        return any(_below(uri, prefix) is not None for prefix, _ in self.prefixes)


def _below(uri: str, prefix: str) -> str | None:
    """What of a URI follows the prefix, by whole path segments; None where it is not below it."""
    if uri.rstrip("/") == prefix.rstrip("/"):
        return ""
    base = prefix.rstrip("/") + "/"
    return uri.removeprefix(base).strip("/") if uri.startswith(base) else None


def missing_data(spec: KerasJobSpec, uris: UriMap) -> list[str]:
    """What of `spec.data` is not on this machine, each with the ways out."""
    faults = []
    for index, item in enumerate(spec.data):
        path = uris.path(item.uri)
        if path is None or (path.is_dir() if item.uri.endswith("/") else path.exists()):
            continue
        what = "directory" if item.uri.endswith("/") else "file"
        ways = f"put the data there, or name its directory with --map {_prefix_of(item.uri)}=DIR"
        if item.uri.startswith("s3://"):
            ways += ", or read the real S3 with --s3"
        faults.append(f"spec.data[{index}].uri: {item.uri} is the {what} {path} here, and it does not exist; {ways}")
    return faults


def _prefix_of(uri: str) -> str:
    return uri if uri.endswith("/") else uri.rpartition("/")[0] + "/"


def moved_paths(spec: KerasJobSpec | WorkerConfig) -> list[tuple[str, str]]:
    """Data paths that cannot be made here, and where below the worker's own directory their copy goes."""
    return [(item.path, f"data/{item.path.strip('/')}") for item in spec.data if not _can_make(Path(item.path))]


def _can_make(path: Path) -> bool:
    # Not `/data` itself for a user who happens to be root: only what lies in a directory that is there already.
    return path.parent != Path("/") and path.parent.is_dir() and os.access(path.parent, os.W_OK)


def localized(config: WorkerConfig, uris: UriMap, worker_dir: Path, agent_port: int) -> WorkerConfig:
    """The configuration of one worker on this machine. Without `checkpoint` state is kept in `<state>/checkpoints`."""
    moved = dict(moved_paths(config))
    data = tuple(
        DataSource(uris.local(item.uri), str(worker_dir / moved[item.path]) if item.path in moved else item.path)
        for item in config.data
    )
    recipe = config.program.recipe
    program = dataclasses.replace(config.program, recipe=None if recipe is None else _following(recipe, moved))
    checkpoint = config.checkpoint or CheckpointConfig(uri=str(uris.state / "checkpoints"))
    return dataclasses.replace(
        config,
        program=program,
        data=data,
        checkpoint=dataclasses.replace(checkpoint, uri=uris.local(checkpoint.uri)),
        export=None if config.export is None else dataclasses.replace(config.export, uri=uris.local(config.export.uri)),
        events_uri=None if config.events_uri is None else uris.local(config.events_uri),
        agent_port=agent_port,
    )


def _following(value: Any, moved: dict[str, str]) -> Any:
    """A recipe whose paths lead to where the data are: there is no code of the user's that could look for them.

    From the program's working directory, which is `work/program`: all workers read the same names.
    """
    if isinstance(value, dict):
        return {key: _following(item, moved) for key, item in value.items()}
    if isinstance(value, list):
        return [_following(item, moved) for item in value]
    for path, where in moved.items() if isinstance(value, str) else ():
        if value.rstrip("/") == path.rstrip("/") or value.startswith(path.rstrip("/") + "/"):
            return f"../../{where}" + value.removeprefix(path.rstrip("/"))
    return value
