"""What a job has come to, for comparison bit for bit."""

import hashlib
import json
import re
from pathlib import Path

from safetensors.numpy import load_file
from tests.trainer.harness import Job

_PROGRAM = (Path(__file__).parent / "program.py").read_text()
FEATURES = tuple(re.findall(r'^    "([^"]+)": \w+,$', _PROGRAM, re.MULTILINE))


def result(job: Job) -> dict:
    """Histories, evaluations, what the callbacks have seen, all variables, all files that the program has made."""
    done, state = record(job), final_state(job)
    return {
        "histories": done["histories"],
        "results": done["results"],
        "seen": seen(job),
        "state": {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in sorted(state.items())},
        "logs": logs(job),
        "files": sorted(path.name for path in _program(job).rglob("*") if path.suffix in (".csv", ".h5", ".keras")),
    }


def record(job: Job) -> dict:
    """`done.json`."""
    return json.loads((job.store / "done.json").read_text())


def final_state(job: Job) -> dict:
    """All variables at the end."""
    newest = max((job.store / "manifests").iterdir(), key=lambda path: _order(path.stem))
    (path,) = (job.store / "checkpoints" / newest.stem).glob("*-state.safetensors")
    return load_file(path)


def seen(job: Job) -> dict[str, str]:
    """The leader's last word of each fit: what the callback has seen of it."""
    lines = (job.live[0].folder / "log").read_text().splitlines()
    return {line[:6]: line for line in lines if line[:5] == "seen "}


def logs(job: Job) -> dict[str, str]:
    """The files of CSVLogger."""
    return {path.name: path.read_text() for path in _program(job).glob("*.csv")}


def _program(job: Job) -> Path:
    return job.live[0].folder / "work" / "program"


def _order(id_: str) -> tuple[int, int, int]:
    step, phase, revision = re.fullmatch(r"(\d+)\.(\d)-r(\d+)", id_).groups()
    return int(revision), int(step), int(phase)
