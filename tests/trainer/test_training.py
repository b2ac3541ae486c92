"""Training by real agents: the losses of one process, whatever is killed on the way."""

import json
import os
import re
import signal

import pytest
from tests.trainer.harness import Gates, histories

# N workers add up the gradients of a batch in another order than one process does, and float32 addition is not
# associative: the losses agree to this, relative. What was interrupted and what was not agree bit for bit.
TOLERANCE = 1e-5


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert [sorted(h) for h in found] == [sorted(h) for h in expected]
    for ours, theirs in zip(found, expected, strict=True):
        for key, values in theirs.items():
            assert ours[key] == pytest.approx(values, rel=TOLERANCE), key


def test_what_survivors_hold_is_stored_where_all_are_told_to_stop_before_they_go_on(job, tmp_path):
    gates = Gates(tmp_path / "gates", "0-1-3")
    made = job("two_fits.py", 0.3, 3, gates.folder)
    made.start_all()
    made.form()
    gates.wait_for("0-1-3", made)
    os.kill(*made.live[1].trainer_pids(), signal.SIGKILL)
    gates.open("0-1-3")
    for worker in made.live.values():
        worker.wait_for_state("lost")
    for worker in made.live.values():
        assert worker.ask("POST", "/v1/stop")[0] == 202
    assert [worker.wait_for_end(20) for worker in made.live.values()] == [30, 30]
    steps = sorted(json.loads(path.read_text())["step"] for path in (made.store / "manifests").iterdir())
    assert steps == [6, 9]
    assert made.live[0].record()["checkpoint"]["step"] == 9


def test_two_workers_give_the_losses_of_one_process_and_losing_each_of_them_changes_no_bit(job, plain, tmp_path):
    undisturbed = job("two_fits.py", 0.3, 3)
    undisturbed.start_all()
    undisturbed.form()
    expected = undisturbed.finish()
    assert_same(histories(expected), plain("0.3", "3"))
    assert len(expected["results"]["evaluate"]) == 2
    last_word = undisturbed.live[0].record()
    assert last_word["reason"] == "ProgramSucceeded"
    assert (last_word["progress"]["totalStep"], last_word["checkpoint"]["step"]) == (36, 36)
    assert last_word["progress"]["percent"] == 100.0

    gates = Gates(tmp_path / "gates", "0-2-3", "1-1-2")
    disturbed = job("two_fits.py", 0.3, 3, gates.folder)
    disturbed.start_all()
    disturbed.form()

    gates.wait_for("0-2-3", disturbed)  # in the middle of an epoch: kill -9 of one trainer
    (victim,) = disturbed.live[1].trainer_pids()
    os.kill(victim, signal.SIGKILL)
    lost = disturbed.live[1].wait_for_state("lost")["trainerExit"]
    assert (lost["signal"], lost["code"], lost["reason"]) == (9, None, "TrainerKilled")
    gates.open("0-2-3")
    lost = disturbed.live[0].wait_for_state("lost")["trainerExit"]
    assert (lost["signal"], lost["code"]) == (None, 20), lost
    disturbed.form()

    gates.wait_for("1-1-2", disturbed)  # in the second fit: the leader's agent and all below it
    (trainer,) = disturbed.live[0].trainer_pids()
    assert_metrics(disturbed.live[0])
    disturbed.live[0].kill()
    assert is_gone(trainer)
    gates.open("1-1-2")
    lost = disturbed.live[1].wait_for_state("lost")["trainerExit"]
    assert (lost["signal"], lost["code"], lost["reason"]) == (None, 20, "ClusterFault"), lost
    disturbed.start(0, incarnation=1)
    disturbed.form()
    found = disturbed.finish()

    assert (found["histories"], found["results"]) == (expected["histories"], expected["results"])
    assert found["ringRevision"] == 3
    assert "epochs seen: [0, 1, 2]" in disturbed.live[0].log()
    assert_thinned_out(disturbed)


def is_gone(pid: int) -> bool:
    """Waits for the end of a process that is not our child: its directory in /proc goes, or it is a zombie."""
    fd = os.pidfd_open(pid) if os.path.exists(f"/proc/{pid}") else None  # noqa: PTH110
    if fd is not None:
        import select

        assert select.select([fd], [], [], 10)[0], "the trainer outlives its agent"
        os.close(fd)
    return True


def assert_thinned_out(job) -> None:
    manifests = sorted((job.store / "manifests").iterdir())
    newest = json.loads(manifests[-1].read_text())
    assert newest["position"] == {"call": 1, "epoch": 3, "step": 0, "phase": "callEnd"}
    assert len(newest["keep"]) == 1
    ids = {path.stem for path in manifests}
    assert ids >= set(newest["keep"])
    assert len(ids) == 3 + len(newest["keep"])
    assert {path.name for path in (job.store / "checkpoints").iterdir()} == ids


def assert_metrics(worker) -> None:
    status, body = worker.ask("GET", "/metrics", token=None)
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    for name in (
        "kerasjob_trainer_step_duration_seconds_count",
        "kerasjob_trainer_samples_total",
        "kerasjob_trainer_samples_per_second",
        "kerasjob_trainer_loss",
        'kerasjob_trainer_metric{name="accuracy"}',
        "kerasjob_trainer_epoch",
        "kerasjob_trainer_step",
        "kerasjob_checkpoint_duration_seconds_count",
        "kerasjob_checkpoint_bytes",
        "kerasjob_checkpoints_total",
        "kerasjob_checkpoint_last_success_timestamp_seconds",
        "kerasjob_staging_seconds",
        "kerasjob_restore_seconds",
        "kerasjob_data_seek_seconds",
        "kerasjob_recovery_seconds",
    ):
        assert float(values[name]) > 0, name
    assert float(values["kerasjob_checkpoint_failures_total"]) == 0
    assert float(values["kerasjob_checkpoints_left_out_total"]) == 0
    assert values['kerasjob_agent_state{state="training"}'] == "1.0"
    assert values["kerasjob_ring_revision"] == "2.0"
    assert not re.search(r"\bjob=", body.decode())


def test_one_worker_is_plain_keras_bit_for_bit_even_when_it_is_interrupted_in_the_second_fit(job, plain, tmp_path):
    gates = Gates(tmp_path / "gates", "1-1-2")
    alone = job("two_fits.py", 0.3, 3, gates.folder, workers=1)
    (worker,) = alone.start_all()
    alone.form()
    gates.wait_for("1-1-2", alone)
    os.kill(*worker.trainer_pids(), signal.SIGKILL)
    worker.wait_for_state("lost")
    gates.open("1-1-2")
    alone.form()
    assert histories(alone.finish()) == plain("0.3", "3")
