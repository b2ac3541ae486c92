"""A store that is away for longer than a step may take: a loop over `fit` waits for it, and nothing is lost."""

import os
import signal

import pytest
from tests.trainer.harness import Gates, eventually, histories

STALL_SECONDS = 5


@pytest.fixture
def waiting(job, tmp_path):
    """A job that waits for its store, and a way to bring the store back."""
    gates = Gates(tmp_path / "gates", "1")
    config = {"stallTimeoutSeconds": STALL_SECONDS}
    made = job(str(gates.folder), program="large_calls.py", every_steps=None, config=config)
    made.start_all()
    made.form()
    gates.wait_for("1", made)
    made.live[0].wait_for(lambda report: report["checkpoint"] is not None, "the first call is saved")
    away, file, link = tmp_path / "away", tmp_path / "file", tmp_path / "link"
    made.store.rename(away)
    file.touch()
    made.store.symlink_to(file)
    gates.open("1")
    eventually(lambda: "waits for states that are on their way to the store" in made.live[0].log(), "it waits")

    def heal() -> None:
        link.symlink_to(away)
        link.replace(made.store)

    return made, heal


def test_it_is_no_stall_and_said_meanwhile(waiting, tmp_path):
    made, heal = waiting
    with pytest.raises(AssertionError, match="not within"):
        made.live[1].wait_for(lambda report: report["state"] != "training", "an end", 2 * STALL_SECONDS)
    report = made.live[0].report()
    assert (report["state"], report["problem"]["reason"]) == ("training", "StorageError")
    heal()
    assert len(histories(made.finish())) == 8


def test_what_it_holds_is_told_at_once_when_a_worker_is_lost(waiting):
    made, heal = waiting
    os.kill(*made.live[1].trainer_pids(), signal.SIGKILL)
    assert made.live[0].wait_for_state("lost")["trainerExit"]["reason"] == "ClusterFault"
    made.live[1].wait_for_state("lost")
    heal()
    made.form()
    assert len(histories(made.finish())) == 8
