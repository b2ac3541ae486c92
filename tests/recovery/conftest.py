"""Jobs whose warm processes come from one zygote, so that a cell of the kill matrix takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
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


def environment() -> dict[str, str]:
    import os

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

    def make(*args: str, every_steps: int | None = 1, **options) -> Job:
        folder = tmp_path / f"job-{len(jobs)}"
        folder.mkdir()
        checkpoint = {"uri": str(folder / "store"), "keepLast": 3, "everyEpochs": 1, "everySteps": every_steps}
        made = Job(
            folder,
            {"script": "program.py", "args": list(args)},
            code=HERE,
            seed=SEED,
            config={"checkpoint": checkpoint, **options.pop("config", {})},
            env={"KERASJOB_TEST_ZYGOTE": str(zygote), **options.pop("env", {})},
            agent=(str(HERE / "agent.py"),),
            **options,
        )
        jobs.append(made)
        return made

    yield make
    for made in jobs:
        made.close()
