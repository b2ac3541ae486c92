"""The loss of a worker is no error of the program, whatever the program makes of it: the job goes on, and its end is
that of a program whose training is whole."""

import os
import signal

import pytest
from tests.trainer.harness import Gates, histories

KINDS = (
    "swallowed",
    "exits",
    "raises another",
    "swallowed, and trains again",
    "all, swallowed",
    "all, and exits",
    "all, and ends the process",
    "finally",
    "own loop, swallowed",
    "own loop, exits",
    "own loop, raises another",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_catches_it_is_run_again(kind, job, tmp_path):
    gates = Gates(tmp_path / "gates", "step")
    export = None if "own loop" in kind else {"uri": str(tmp_path / "models")}  # a loop of its own leaves no model
    made = job(kind, str(gates.folder), program="catches.py", config={"export": export})
    made.start_all()
    made.form()
    gates.wait_for("step", made)
    (pid,) = made.live[1].trainer_pids()
    os.kill(pid, signal.SIGKILL)
    gates.open("step")
    lost = made.live[0].wait_for_state("lost")["trainerExit"]
    assert (lost["code"], lost["reason"]) == (20, "ClusterFault")
    assert not (tmp_path / "models").exists()
    assert not (made.store / "done.json").exists()
    made.live[1].wait_for_state("lost")
    made.form()
    done = made.finish()
    assert [len(history["loss"]) for history in histories(done)] == ([] if "own loop" in kind else [3] * calls(kind))
    assert ("cleaned up" in made.live[0].log()) == (kind == "finally")


def calls(kind) -> int:
    return 2 if kind == "swallowed, and trains again" else 1
