"""Jobs of real agents, in folders of their own; a plain run to compare with; an S3 server where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.trainer.harness import Job

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"


@pytest.fixture
def job(tmp_path):
    """Makes jobs; whatever still runs of them afterwards is killed."""
    jobs = []

    def make(script="two_fits.py", *args, **options) -> Job:
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        program = options.pop("program", {"script": script, "args": [str(arg) for arg in args]})
        jobs.append(Job(folder, program, code=options.pop("code", PROGRAMS), **options))
        return jobs[-1]

    yield make
    for made in jobs:
        made.close()


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """Histories of plain `python program args` in one process; of ours is the order of rows alone."""
    known: dict[tuple, list[dict]] = {}

    def run(*args) -> list[dict]:
        if args not in known:
            folder = tmp_path_factory.mktemp("plain")
            out = folder / "histories.json"
            command = [sys.executable, str(HERE / "plain.py"), "7", str(out), str(PROGRAMS / "two_fits.py")]
            env = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "KERAS_HOME": str(folder)}
            subprocess.run([*command, *map(str, args)], cwd=folder, env=env, check=True, capture_output=True)
            known[args] = json.loads(out.read_text())
        return known[args]

    return run
