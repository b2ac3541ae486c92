"""The state directory of local jobs. Used by the runner, the body and `kerasjob status`.

<state>/jobs/<name>/job.json                      uid, spec, status; replaced atomically
<state>/jobs/<name>/lock                          held by the one process that runs the job
<state>/jobs/<name>/code/                         the program's files, as a ConfigMap would hold them
<state>/jobs/<name>/workers/<slot>-<incarnation>/ a worker's own directory; its log is beside it, `….log`
<state>/past/<name>/<uid>/                        what `--fresh` put aside
<state>/checkpoints/, <state>/s3/                 what the programs saved
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kerasjob.errors import InvalidInput, StateInUse
from kerasjob.files import LoadedJob
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.conditions import is_finished


@dataclass(frozen=True)
class StoredJob:
    """`job.json`: what a KerasJob object is on a cluster."""

    name: str
    namespace: str
    uid: str
    created_at: float
    version: int
    spec: KerasJobSpec
    status: KerasJobStatus
    source: str

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to do."""
        return is_finished(self.status)

    def changes_to(self, spec: KerasJobSpec) -> list[str]:
        """The fields in which another spec differs, with both values."""
        return _differences(_plain(self.spec), _plain(spec), "spec")


class JobDir:
    """The directory of one job. Makes nothing before the first write."""

    def __init__(self, state: Path, name: str) -> None:
        self.state = state.absolute()
        self.name = name
        self.path = self.state / "jobs" / name
        self.code = self.path / "code"

    def worker_dir(self, slot: int, incarnation: int) -> Path:
        """The worker's own directory."""
        return self.path / "workers" / f"{slot}-{incarnation}"

    def log(self, slot: int, incarnation: int) -> Path:
        """Where the worker's output goes."""
        return self.path / "workers" / f"{slot}-{incarnation}.log"

    def read(self) -> StoredJob | None:
        """The job as it was last written; None where there is none. Raises InvalidInput where it cannot be read."""
        file = self.path / "job.json"
        try:
            data = json.loads(file.read_text())
            return StoredJob(
                name=data["metadata"]["name"],
                namespace=data["metadata"]["namespace"],
                uid=data["metadata"]["uid"],
                created_at=data["metadata"]["createdAt"],
                version=data["metadata"]["version"],
                source=data["metadata"]["source"],
                spec=KerasJobSpec.model_validate(data["spec"]),
                status=KerasJobStatus.model_validate(data["status"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise InvalidInput(str(file), [f"cannot be read ({error}); --fresh begins anew"]) from error

    def write(self, job: StoredJob) -> None:
        """Replaces `job.json`. A crash leaves the old one or the new one."""
        self.path.mkdir(parents=True, exist_ok=True)
        data = {
            "metadata": {
                "name": job.name,
                "namespace": job.namespace,
                "uid": job.uid,
                "createdAt": job.created_at,
                "version": job.version,
                "source": job.source,
            },
            "spec": _plain(job.spec),
            "status": job.status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        temporary = self.path / "job.json.new"
        with temporary.open("w") as file:
            json.dump(data, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / "job.json")

    def create(self, job: LoadedJob, now: float) -> StoredJob:
        """A new job with a new uid."""
        stored = StoredJob(
            job.name, job.namespace, str(uuid.uuid4()), now, 1, job.spec, KerasJobStatus(), str(job.source)
        )
        self.write(stored)
        return stored

    def put_aside(self) -> None:
        """Moves what there is of the job to `<state>/past/<name>/<uid>`. Its checkpoints are not touched."""
        try:
            job = self.read()
        except InvalidInput:
            job = None
        uid = job.uid if job is not None else f"unreadable-{uuid.uuid4()}"
        past = self.state / "past" / self.name / uid
        past.mkdir(parents=True, exist_ok=True)
        for entry in [e for e in self.path.iterdir() if e.name != "lock"] if self.path.exists() else []:
            entry.rename(past / entry.name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the job. Raises StateInUse that says who does."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise StateInUse(f"job {self.name!r} in {self.state} is being run by {holder}") from error
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()}")
            file.flush()
            yield

    def is_held(self) -> bool:
        """Whether a process runs the job now."""
        try:
            with (self.path / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False


def job_names(state: Path) -> list[str]:
    """The jobs of a state directory."""
    return sorted(path.parent.name for path in state.glob("jobs/*/job.json"))


def _plain(spec: KerasJobSpec) -> dict[str, Any]:
    data: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return data


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line for key in sorted({*old, *new}) for line in _differences(old.get(key), new.get(key), f"{path}.{key}")
        ]
    return [] if old == new else [f"{path}: was {_short(old)}, is {_short(new)}"]


def _short(value: Any) -> str:
    return "not given" if value is None else f"{value!r:.80}"
