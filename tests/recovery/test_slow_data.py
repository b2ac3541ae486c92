"""Data that is read again for longer than a step may take: that is no stall, and a source that hangs is one."""

import os
import signal

import pytest
from tests.trainer.harness import Gates, histories

STALL_SECONDS = 5  # reading the first epoch again takes 8


def interrupted(job, gates, workers):
    """A job that has lost its last worker's trainer near the end."""
    config = {"stallTimeoutSeconds": STALL_SECONDS}
    made = job(str(gates.folder), program="slow_data.py", workers=workers, config=config)
    made.start_all()
    made.form()
    gates.wait_for("1-12", made)
    os.kill(*made.live[workers - 1].trainer_pids(), signal.SIGKILL)
    gates.open("1-12")
    for worker in made.live.values():
        worker.wait_for_state("lost")
    return made


@pytest.fixture
def gates(tmp_path):
    return Gates(tmp_path / "gates", "1-12")


@pytest.mark.parametrize("workers", [1, 2])
def test_reading_again_is_no_stall_also_of_those_who_wait_for_it(workers, job, gates):
    made = interrupted(job, gates, workers)
    (gates.folder / "slow").write_text(str(workers - 1))
    made.form()
    assert [len(history["loss"]) for history in histories(made.finish())] == [2]


def test_a_source_that_hangs_is_one(job, gates):
    made = interrupted(job, gates, 1)
    (gates.folder / "hung").touch()
    made.form()
    assert made.live[0].wait_for_state("lost")["trainerExit"]["reason"] == "Stalled"
