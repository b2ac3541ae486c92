"""Jobs whose warm processes come from one zygote, so that a cell of the kill matrix takes seconds."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.recovery.results import result
from tests.trainer.harness import Job

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEED = 7


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    """The path of its socket."""
    path = tmp_path_factory.mktemp("zygote") / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.recovery.zygote", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=environment() | {"KERAS_HOME": str(path.parent)},
        text=True,
    )
    with process, process.stdout as said:
        assert said.readline() == "ready\n"
        yield path
        process.kill()


def make_job(
    folder: Path, zygote: Path, *args: str, program: str = "program.py", every_steps: int | None = 1, **options
) -> Job:
    checkpoint = {"uri": str(folder / "store"), "keep": {"last": 3}, "everyEpochs": 1, "everySteps": every_steps}
    return Job(
        folder,
        {"script": program, "args": list(args)},
        code=HERE,
        seed=SEED,
        config={"checkpoint": checkpoint, **options.pop("config", {})},
        env={"KERASJOB_TEST_ZYGOTE": str(zygote), **options.pop("env", {})},
        agent=(str(HERE / "agent.py"),),
        **options,
    )


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONHASHSEED": str(SEED),
    }


@pytest.fixture
def job(zygote, tmp_path):
    """Makes jobs; whatever still runs of them afterwards is killed."""
    jobs = []

    def make(*args: str, **options) -> Job:
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        jobs.append(make_job(folder, zygote, *args, **options))
        return jobs[-1]

    yield make
    for made in jobs:
        made.close()


@pytest.fixture(scope="session")
def undisturbed_job(zygote, tmp_path_factory):
    """A job of two workers that has ended, and to which nothing has happened."""
    known: dict[str, Job] = {}

    def run(feature: str) -> Job:
        if feature not in known:
            made = make_job(tmp_path_factory.mktemp("undisturbed"), zygote, feature, workers=2)
            try:
                made.start_all()
                made.form()
                made.finish()
            finally:
                made.close()
            known[feature] = made
        return known[feature]

    return run


@pytest.fixture(scope="session")
def undisturbed(undisturbed_job):
    """What it came to."""
    return functools.cache(lambda feature: result(undisturbed_job(feature)))
