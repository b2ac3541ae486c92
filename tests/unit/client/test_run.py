"""`kerasjob run` with the operator's brain and agents without TensorFlow."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from tests.unit.client.conftest import AGENT, job_file

from kerasjob import InvalidInput, SpecChanged, StateInUse
from kerasjob.local.state import JobDir
from kerasjob_core.policies import ring


@pytest.fixture(autouse=True)
def heeds_interrupts():
    """As in a terminal; a shell that has put the tests in the background has them ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def saved(state, name="tiny"):
    return json.loads((state / "jobs" / name / "job.json").read_text())


def later(seconds, call):
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def when(condition, call, seconds=10.0):
    """Calls once the condition holds."""

    def wait():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    call()
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def worker_pid(state, slot, incarnation=0):
    """The process that has a worker's configuration in its environment."""
    wanted = f"KERASJOB_CONFIG={state}/jobs/tiny/workers/{slot}-{incarnation}/worker.json".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    return int(entry.name)
            except OSError:
                continue
    raise ValueError("no such worker")


def test_a_job_of_two_workers_runs_to_its_end(folder, run, tmp_path):
    result, shown = run(job_file(folder, workers=2))
    assert result.exit_code == 0
    assert result.status.phase == "Succeeded"
    assert "worker 0 begins at step 0" in shown
    assert "worker 1 begins" not in shown
    assert "job tiny succeeded: epoch 1/1, step 10/10, loss 0.0909" in shown
    assert "worker 1 begins" in (tmp_path / "state/jobs/tiny/workers/1-0.log").read_text()
    assert result.status.progress.step == 10


def test_all_logs_are_shown_on_request(folder, run):
    _, shown = run(job_file(folder, workers=2), logs="all")
    assert "[1] worker 1 begins at step 0" in shown


def test_the_users_error_is_shown_with_its_place_and_the_log(folder, run, tmp_path):
    result, shown = run(job_file(folder, "exit=10"))
    assert result.exit_code == 1
    assert "UserError: ValueError: bad shape (train.py:12)" in shown
    assert str(tmp_path / "state/jobs/tiny/workers/0-0.log") in shown


def test_an_agent_that_cannot_start_says_its_last_words(folder, run):
    result, shown = run(job_file(folder), command=(sys.executable, "-c", "raise SystemExit('no such module')"))
    assert result.exit_code == 1
    assert "no such module" in shown


def test_an_agent_that_is_no_program_says_so(folder, run):
    result, shown = run(job_file(folder), command=("/nonexistent",))
    assert result.exit_code == 1
    assert "/nonexistent: No such file or directory" in shown


def test_workers_end_with_a_runner_that_is_killed(folder, tmp_path):
    path, state = job_file(folder, "unready"), tmp_path / "state"
    code = (
        f"from kerasjob import load, run_local; run_local(load({str(path)!r}), state={str(state)!r}, command={AGENT!r})"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    when(lambda: worker_pid(state, 0), runner.kill).join()
    assert runner.wait(timeout=10) == -signal.SIGKILL
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            worker_pid(state, 0)
        except ValueError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")


def test_a_killed_worker_is_replaced_and_counted_once(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr(ring, "SETTLE_SECONDS", 0.0)  # these agents train on without the others
    state = tmp_path / "state"
    killer = when(
        lambda: saved(state)["status"]["phase"] == "Running", lambda: os.kill(worker_pid(state, 1), signal.SIGKILL)
    )
    result, shown = run(job_file(folder, "steps=60", workers=2))
    killer.join()
    assert result.exit_code == 0
    assert (result.status.restarts, result.status.disruptions) == (1, 0)
    assert result.status.ring.revision == 2
    assert "worker 1 (tiny-1-0): the worker's process was killed by signal 9" in shown


def test_interrupted_it_says_how_to_go_on_and_does_go_on(folder, run, tmp_path):
    path, state = job_file(folder, "steps=60", workers=2), tmp_path / "state"
    stopper = when(
        lambda: saved(state)["status"]["phase"] == "Running",
        lambda: later(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)),
    )
    first, shown = run(path, again="kerasjob run job.yaml")
    stopper.join()
    assert first.exit_code == 130
    assert "last checkpoint: step" in shown
    assert "to go on: kerasjob run job.yaml" in shown
    second, shown = run(path)
    assert second.exit_code == 0
    assert second.uid == first.uid
    assert f"goes on (uid {first.uid})" in shown
    assert "begins at step 0" not in shown


def test_a_second_interrupt_kills(folder, run, tmp_path):
    state = tmp_path / "state"
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    log = state / "jobs/tiny/workers/0-0.log"

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        later(0.4, lambda: os.kill(os.getpid(), signal.SIGINT))

    stopper = when(lambda: "deaf" in log.read_text(), twice)
    before = time.monotonic()
    result, _ = run(job_file(folder), command=(sys.executable, "-c", deaf))
    stopper.join()
    assert result.exit_code == 130
    assert time.monotonic() - before < 15


def test_a_finished_job_is_not_run_again_unless_afresh(folder, run, tmp_path):
    path = job_file(folder)
    first, _ = run(path)
    again, shown = run(path)
    assert (again.exit_code, again.uid) == (0, first.uid)
    assert "has succeeded already" in shown
    assert "begins" not in shown
    anew, shown = run(path, fresh=True)
    assert anew.exit_code == 0
    assert anew.uid != first.uid
    assert "begins at step 0" in shown
    assert (tmp_path / "state/past/tiny" / first.uid / "job.json").exists()


def test_an_unfinished_job_refuses_another_spec(folder, run, tmp_path):
    path, state = job_file(folder, "unready"), tmp_path / "state"
    stopper = when(lambda: worker_pid(state, 0), lambda: later(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert run(path)[0].exit_code == 130
    stopper.join()
    with pytest.raises(SpecChanged, match=r"spec.workers: was not given, is 3(.|\n)*--fresh"):
        run(path, workers=3)


def test_two_runs_of_one_job_are_refused(folder, run, tmp_path):
    directory = JobDir(tmp_path / "state", "tiny")
    with directory.lock(), pytest.raises(StateInUse, match=f"is being run by process {os.getpid()}"):
        run(job_file(folder))


def test_missing_data_is_named_before_anything_starts(folder, run, tmp_path):
    path = job_file(folder, data=[{"uri": "s3://bucket/digits/", "path": "/data/digits"}])
    with pytest.raises(InvalidInput) as caught:
        run(path)
    (fault,) = caught.value.faults
    assert fault.startswith("spec.data[0].uri: s3://bucket/digits/ is the directory")
    assert str(tmp_path / "state/s3/bucket/digits") in fault
    assert "--map s3://bucket/digits/=DIR" in fault
    assert "--s3" in fault
    assert not (tmp_path / "state/jobs/tiny/job.json").exists()


def test_the_workers_configuration_leads_to_directories(folder, run, tmp_path):
    (tmp_path / "digits").mkdir()
    path = job_file(
        folder,
        data=[{"uri": "s3://bucket/digits/", "path": "/data/digits"}],
        checkpoint={"uri": "s3://bucket/ckpt/"},
        env=[{"name": "GREETING", "value": "hi"}],
    )
    result, shown = run(path, maps=[f"s3://bucket/digits/={tmp_path / 'digits'}"])
    assert result.exit_code == 0
    worker = tmp_path / "state/jobs/tiny/workers/0-0"
    config = json.loads((worker / "worker.json").read_text())
    assert config["data"] == [{"uri": f"file://{tmp_path}/digits/", "path": f"{worker}/data/data/digits"}]
    assert config["checkpoint"]["uri"] == f"file://{tmp_path}/state/s3/bucket/ckpt/"
    assert "warning: data for /data/digits cannot be put there" in shown


def test_the_code_is_the_folder_without_its_data(folder, run, tmp_path):
    path = job_file(folder)
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "data").mkdir()
    (folder / "data" / "big.npz").write_text("…")
    run(path)
    assert sorted(p.name for p in (tmp_path / "state/jobs/tiny/code").iterdir()) == [
        "helper.py",
        "job.yaml",
        "train.py",
    ]


def test_a_script_is_a_job_of_one_worker(tmp_path, run):
    script = tmp_path / "Train_It.py"
    script.write_text("print(1)\n")
    result, _ = run(script)
    assert result.exit_code == 0
    assert (tmp_path / "state/jobs/train-it/job.json").exists()


def test_no_worker_outlives_a_runner_that_fails(folder, tmp_path):
    path = job_file(folder, "unready", workers=2)
    code = f"""
    import sys
    from kerasjob import load, run_local
    from kerasjob.local import runner
    async def broken(cluster, display):
        await cluster.poll()
        await runner.settle(cluster, 0)
        assert cluster.live == 2
        raise RuntimeError("a fault of ours")
    runner._run = broken
    run_local(load({str(path)!r}), state={str(tmp_path / "state")!r}, command={AGENT!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30)
    assert "a fault of ours" in done.stderr
    with pytest.raises(ValueError, match="no such worker"):
        worker_pid(tmp_path / "state", 0)
