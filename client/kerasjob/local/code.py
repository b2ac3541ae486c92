"""The program's files, put aside as a ConfigMap would hold them: what the workers copy to their working directories.

For a YAML file: the plain files of its folder. For a `.py` script also the packages beside it, which a ConfigMap could
not hold. Data, hidden files and what is too large for a ConfigMap are no code.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from kerasjob.files import LoadedJob

# A ConfigMap's limit: what works here is to work on a cluster.
CODE_MAX_BYTES = 1024 * 1024


def take_code(job: LoadedJob, target: Path) -> list[str]:
    """Copies the program's files; answers the names of those that changed since the last time."""
    new = {str(path.relative_to(job.folder)): path.read_bytes() for path in _files(job)}
    old = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    if new != old or not target.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, content in new.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name)) if old else []


def program_faults(job: LoadedJob) -> list[str]:
    """What is wrong with `spec.program` as seen from this machine."""
    script = job.spec.program.script
    if script is None:
        return []
    path = job.folder / script  # an absolute script stays what it is
    if not path.is_file():
        where = "on this machine" if Path(script).is_absolute() else f"in {job.folder}"
        return [f"spec.program.script: there is no {script} {where}; a relative name is looked up beside the file"]
    if Path(script).is_absolute():
        return []
    if path.stat().st_size > CODE_MAX_BYTES:
        return [f"spec.program.script: {script} is larger than a ConfigMap may be ({CODE_MAX_BYTES} bytes)"]
    return []


def _files(job: LoadedJob) -> Iterator[Path]:
    for path in sorted(job.folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file() and path.stat().st_size <= CODE_MAX_BYTES:
            yield path
        elif job.is_script and (path / "__init__.py").is_file():
            yield from sorted(p for p in path.rglob("*.py") if p.is_file())
    script = job.spec.program.script
    if script is not None and "/" in script and not Path(script).is_absolute():
        yield job.folder / script
