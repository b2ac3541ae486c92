"""How programs end, and what is left of them: errors with file and line, stalls, stops, results."""

import json
import os
import signal

import numpy as np
import pytest
from tests.trainer.harness import Gates


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            "third-step",
            {"exceptionType": "ValueError", "message": "the third step is the charm", "line": 13, "step": 2},
        ),
        ("exit", {"exceptionType": "SystemExit", "message": "the program called sys.exit(3)", "line": 17}),
        ("os-exit", {"exceptionType": None, "message": "the program ended the process with code 4", "file": None}),
    ],
)
def test_an_error_of_the_program_ends_the_worker_with_file_and_line(job, how, expected):
    made = job("fails.py", how, workers=1)
    (worker,) = made.start_all()
    made.form()
    assert worker.wait_for_end() == 10
    record = worker.record()
    assert (record["reason"], record["worker"]) == ("UserError", 0)
    assert {key: record[key] for key in {"file": "fails.py", **expected}} == {"file": "fails.py", **expected}


def test_a_staged_subset_is_what_keras_datasets_load(job, tmp_path):
    digits = tmp_path / "digits"
    digits.mkdir()
    x, y = np.zeros((6, 28, 28), "uint8"), np.zeros(6, "uint8")
    np.savez_compressed(digits / "mnist.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = [{"uri": str(digits), "path": str(tmp_path / "staged")}]
    made = job(program={"module": "datasets", "args": ["--some"]}, config={"data": data}, workers=1)
    (worker,) = made.start_all()
    made.form()
    assert made.finish()["histories"] == []
    seen = (worker.folder / "work" / "program" / "seen.txt").read_text()
    assert seen == "(6, 28, 28) (2,) program ['--some']"


def test_a_trainer_that_stalls_is_lost_with_its_stacks_and_a_stop_keeps_what_was_saved(job, tmp_path):
    gates = Gates(tmp_path / "gates", "0-1-3", "0-2-0")
    made = job("two_fits.py", 0.0, 3, gates.folder, workers=1, config={"stallTimeoutSeconds": 8})
    (worker,) = made.start_all()
    made.form()
    gates.wait_for("0-1-3", made)
    lost = worker.wait_for_state("lost")["trainerExit"]
    assert (lost["code"], lost["signal"], lost["reason"]) == (21, None, "Stalled")
    assert "two_fits.py" in worker.log()
    assert "on_train_batch_begin" in worker.log()  # where it stood
    gates.open("0-1-3")

    made.form()
    gates.wait_for("0-2-0", made)
    assert worker.ask("PUT", "/v1/ring", ring_of(made, worker, made.revision - 1))[0] == 409
    status, body = worker.ask("PUT", "/v1/ring", ring_of(made, worker, made.revision))  # again: no new trainer
    assert (status, json.loads(body)["state"]) == (200, "training")
    (trainer,) = worker.trainer_pids()
    assert worker.ask("POST", "/v1/stop")[0] == 202
    assert worker.wait_for_end(20) == 30
    assert worker.record()["reason"] == "Preempted"
    assert not os.path.exists(f"/proc/{trainer}")  # noqa: PTH110
    manifests = sorted(path.stem for path in (made.store / "manifests").iterdir())
    assert manifests == ["000000000006.1-r1", "000000000012.1-r2"]
    newest = json.loads((made.store / "manifests" / "000000000012.1-r2.json").read_text())
    assert newest["parent"] == "000000000006.1-r1"
    assert newest["position"] == {"call": 0, "epoch": 2, "step": 0, "phase": "epochEnd"}


def test_a_trainer_that_is_frozen_shows_its_stacks(job, tmp_path):
    gates = Gates(tmp_path / "gates", "0-1-3")
    made = job("two_fits.py", 0.0, 3, gates.folder, workers=1, config={"stallTimeoutSeconds": 8})
    (worker,) = made.start_all()
    made.form()
    gates.wait_for("0-1-3", made)
    os.kill(*worker.trainer_pids(), signal.SIGSTOP)
    assert "are in its log" in worker.wait_for_state("lost")["trainerExit"]["message"]
    assert "on_train_batch_begin" in worker.log()


@pytest.mark.parametrize(("workers", "threads"), [(1, 3), (2, 0)])
def test_a_program_may_set_up_tensorflow_and_ask_for_determinism(job, workers, threads):
    """As programs for GPUs do in their first lines: there is none here, and the checks of all settings are alike."""
    made = job("sets_up.py", workers=workers)
    (worker, *_) = made.start_all()
    made.form()
    assert len(made.finish()["histories"]) == 1
    assert f"threads: {threads}\nbytes: [0]\n" in worker.log()
    is_said = "set_logical_device_configuration of the program changes nothing" in worker.log()
    assert is_said == (workers > 1)


def test_a_long_evaluation_is_no_stall_and_data_that_hangs_is_one_outside_of_fit_too(job, tmp_path):
    gates = Gates(tmp_path / "gates", "hung")
    made = job("evaluates.py", 10, gates.folder, workers=1, config={"stallTimeoutSeconds": 8})
    (worker,) = made.start_all()
    made.form()
    lost = worker.wait_for_state("lost")["trainerExit"]
    assert (lost["code"], lost["reason"]) == (21, "Stalled")
    assert "evaluated\n" in worker.log()
    assert "in hung" in worker.log()  # where it stood


def ring_of(made, worker, revision):
    member = {"slot": 0, "incarnation": 0, "host": "127.0.0.1", "agentPort": worker.port, "port": 1}
    return {"protocol": 1, "job": made.uid, "revision": revision, "members": [member]}


def test_a_changed_program_is_refused_not_resumed_wrongly(job, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    text = (job().code / "two_fits.py").read_text()
    (code / "two_fits.py").write_text(text)
    gates = Gates(tmp_path / "gates", "0-1-3")
    made = job("two_fits.py", 0.0, 3, gates.folder, workers=1, code=code)
    (worker,) = made.start_all()
    made.form()
    gates.wait_for("0-1-3", made)
    program = worker.folder / "work" / "program" / "two_fits.py"
    program.write_text(text.replace("batch_size=16, epochs=EPOCHS,", "batch_size=8, epochs=EPOCHS,"))
    os.kill(*worker.trainer_pids(), signal.SIGKILL)
    worker.wait_for_state("lost")
    gates.open("0-1-3")
    made.form()
    assert worker.wait_for_end() == 11
    record = worker.record()
    assert record["reason"] == "BadProgram"
    assert "batch_size was 16 and is 8" in record["message"]
