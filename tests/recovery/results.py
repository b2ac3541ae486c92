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
    done = json.loads((job.store / "done.json").read_text())
    newest = max((job.store / "manifests").iterdir(), key=lambda path: _order(path.stem))
    (path,) = (job.store / "checkpoints" / newest.stem).glob("*-state.safetensors")
    state = load_file(path)
    leader = job.live[0]
    program = leader.folder / "work" / "program"
    made = [path for path in program.rglob("*") if path.suffix in (".csv", ".h5", ".keras")]
    return {
        "histories": done["histories"],
        "results": done["results"],
        "seen": {line[:6]: line for line in (leader.folder / "log").read_text().splitlines() if line[:5] == "seen "},
        "state": {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in sorted(state.items())},
        "logs": {path.name: path.read_text() for path in made if path.suffix == ".csv"},
        "files": sorted(path.name for path in made),
    }


def steps_saved(job: Job) -> int:
    """Of the newest checkpoint; -1 where there is none."""
    return max((_order(path.stem)[1] for path in (job.store / "manifests").glob("*.json")), default=-1)


def _order(id_: str) -> tuple[int, int, int]:
    step, phase, revision = re.fullmatch(r"(\d+)\.(\d)-r(\d+)", id_).groups()
    return int(revision), int(step), int(phase)
