"""An interrupted run ends as the undisturbed one does, bit for bit: all logs, all variables, the files."""

import os
import signal

import pytest
from tests.recovery.results import FEATURES, logs, result, seen
from tests.trainer.harness import Gates

# Before which batch of which epoch of which fit the only worker is killed.
MOMENTS = ("0-0-0", "0-1-4", "0-1-v0", "1-1-4")


def end(job) -> dict:
    job.start_all()
    job.form()
    job.finish()
    return result(job)


@pytest.mark.parametrize("feature", FEATURES)
def test_every_moment(feature, job, tmp_path):
    expected = end(job(feature, workers=1))
    gates = Gates(tmp_path / "gates", *MOMENTS)
    killed = job(feature, str(gates.folder), workers=1)
    (worker,) = killed.start_all()
    for moment in MOMENTS:
        killed.form()
        gates.wait_for(moment, killed)
        (pid,) = worker.trainer_pids()
        os.kill(pid, signal.SIGKILL)
        gates.open(moment)
        worker.wait_for_state("lost")
    killed.form()
    killed.finish()
    found = result(killed)
    for part in expected:
        assert found[part] == expected[part], part


def test_without_a_store_a_lost_worker_costs_nothing_either(job, tmp_path, undisturbed):
    expected = undisturbed("numpy")
    gates = Gates(tmp_path / "gates", "0-1-4")
    made = job("numpy", str(gates.folder), config={"checkpoint": None})
    made.start_all()
    made.form()
    gates.wait_for("0-1-4", made)
    (pid,) = made.live[0].trainer_pids()
    os.kill(pid, signal.SIGKILL)
    gates.open("0-1-4")
    for worker in made.live.values():
        worker.wait_for_state("lost")
    made.form()
    for worker in made.live.values():
        assert worker.wait_for_end() == 0, worker.log()
    assert "goes on from checkpoint 000000000010.0-r1" in worker.log()
    assert not made.store.exists()
    assert (seen(made), logs(made)) == (expected["seen"], expected["logs"])
