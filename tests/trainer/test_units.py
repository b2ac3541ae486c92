"""The parts of the agent that need no process: stores, checkpoints, judgements, states, counters."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
from tests.trainer.stores import checkpoints_do_what_they_say, save, store_does_what_it_says

from kerasjob_api.constants import WorkerState
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import FailureRecord, KeepConfig, Member, Problem, ProgramConfig, Ring, WorkerConfig
from kerasjob_trainer import uploads
from kerasjob_trainer.checkpoints import Checkpoints
from kerasjob_trainer.manifests import FILES, Files, Saved
from kerasjob_trainer.meters import Histogram, Meters
from kerasjob_trainer.metrics import exposition
from kerasjob_trainer.processes import is_pending
from kerasjob_trainer.run import Outcome, Run, judge
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.staging.keras_files import link_datasets
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import StoreError
from kerasjob_trainer.store.directory import UNFINISHED_SECONDS, DirectoryStore


def test_a_directory_is_a_store(tmp_path):
    store_does_what_it_says(DirectoryStore(tmp_path / "store"), tmp_path)


def test_checkpoints_in_a_directory(tmp_path):
    checkpoints_do_what_they_say(DirectoryStore(tmp_path / "store"), tmp_path)


def test_a_directory_on_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store_does_what_it_says(DirectoryStore(tmp_path / "store"), tmp_path)
    checkpoints_do_what_they_say(DirectoryStore(tmp_path / "other"), tmp_path / "files")


def test_what_a_killed_writer_has_left_goes_and_what_is_being_written_stays(tmp_path):
    checkpoints = Checkpoints(DirectoryStore(tmp_path / "store"), "uid", KeepConfig())
    saved = save(checkpoints, tmp_path, 1, 1)
    folder = tmp_path / "store/checkpoints" / saved.id
    for name, seconds in ((".kerasjob-old", UNFINISHED_SECONDS + 60), (".kerasjob-new", 60)):
        (folder / name).write_text("half")
        os.utime(folder / name, (time.time() - seconds,) * 2)
    checkpoints.thin_out(1)
    assert [path.name for path in folder.glob(".*")] == [".kerasjob-new"]
    assert checkpoints.newest_whole(tmp_path / "restored").id == saved.id


def test_a_damaged_checkpoint_is_passed_over_loudly(tmp_path, caplog):
    checkpoints = Checkpoints(DirectoryStore(tmp_path / "store"), "uid", KeepConfig())
    save(checkpoints, tmp_path, 1, 1)
    save(checkpoints, tmp_path, 2, 1)
    (path,) = (tmp_path / "store/checkpoints/000000000002.1-r1").glob("*-state.safetensors")
    path.write_text("tensors 3")
    assert checkpoints.newest_whole(tmp_path / "restored").step == 1
    assert "checkpoint 000000000002.1-r1 is damaged and passed over" in caplog.text
    assert "SHA-256" in caplog.text


@pytest.mark.parametrize("field", ["name", "keep", "id"])
def test_names_in_a_store_lead_nowhere_else(field, tmp_path, caplog):
    """Who can write to the store is not to write elsewhere in a worker."""
    checkpoints = Checkpoints(DirectoryStore(tmp_path / "store"), "uid", KeepConfig())
    good = save(checkpoints, tmp_path, 1, 1)
    save(checkpoints, tmp_path, 2, 1)
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    path = tmp_path / "store/manifests/000000000002.1-r1.json"
    manifest = json.loads(path.read_text())
    path.unlink()
    if field == "name":
        manifest["files"][0]["name"] = str(victim)
    elif field == "keep":
        manifest["keep"] = ["../../victim"]
    else:
        path = path.with_name("..-r9.json")
    path.write_text(json.dumps(manifest))
    assert checkpoints.newest_whole(tmp_path / "restored").id == good.id
    assert "is damaged" in caplog.text
    assert victim.read_text() == "as it was"


def test_a_directory_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    store = DirectoryStore(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match="check that the volume is mounted"):
        store.put_if_absent("a", b"")


def run_of(**fields) -> Run:
    run = Run(Ring("uid", 3, (Member(0, 0, "h", 1, 2),)), 0)
    for key, value in fields.items():
        setattr(run, key, value)
    return run


CONFIG = WorkerConfig("default", "job", "uid", 1, 1, ProgramConfig(script="train.py"), stall_timeout_seconds=60)
SETTINGS = Settings(CONFIG, 1, 0, "", 0, Path(), "", Path(), Path(), Path())
RECORD = FailureRecord("UserError", "bad shape", "ValueError", "train.py", 3)


@pytest.mark.parametrize(
    ("run", "code", "number", "oom", "outcome", "ends_with", "reason"),
    [
        (run_of(), 0, None, False, Outcome.DONE, 0, None),
        (run_of(failure=RECORD), 10, None, False, Outcome.END, 10, "UserError"),
        (run_of(failure=RECORD), 11, None, False, Outcome.END, 11, "UserError"),
        (run_of(), 3, None, False, Outcome.END, 10, "UserError"),  # os._exit(3) of the program
        (run_of(failure=RECORD), 20, None, False, Outcome.LOST, 20, "ClusterFault"),
        # The program has caught the loss of a peer, and made something else of it.
        (run_of(rescuing=True), 0, None, False, Outcome.LOST, 20, "ClusterFault"),
        (run_of(rescuing=True), 3, None, False, Outcome.LOST, 20, "ClusterFault"),
        (run_of(rescuing=True, failure=RECORD), 10, None, False, Outcome.LOST, 20, "ClusterFault"),
        (run_of(), None, signal.SIGKILL, False, Outcome.LOST, None, "TrainerKilled"),
        (run_of(), None, signal.SIGKILL, True, Outcome.END, 137, "OutOfMemory"),
        (run_of(), None, signal.SIGSEGV, True, Outcome.LOST, None, "TrainerKilled"),
        (run_of(ended_by_us=(ExitCode.STALLED, "no step")), None, signal.SIGKILL, False, Outcome.LOST, 21, "Stalled"),
    ],
)
def test_what_the_end_of_a_trainer_means(run, code, number, oom, outcome, ends_with, reason):
    verdict = judge(run, code, number, SETTINGS, oom=oom)
    assert verdict.outcome is outcome
    if outcome is Outcome.LOST:
        assert (verdict.exit.code, verdict.exit.reason, verdict.exit.revision) == (ends_with, reason, 3)
        assert (verdict.exit.code is None) != (verdict.exit.signal is None)
    else:
        assert verdict.code == ends_with
        assert (verdict.record.reason if verdict.record else None) == reason


def test_the_states_of_an_agent():
    status = Status(1, 2)
    status.set(problem=Problem("StorageError", "no"))
    status.move(WorkerState.READY)
    status.clear_problem()
    status.move(WorkerState.FORMING, revision=4)
    status.move(WorkerState.TRAINING)
    report = status.report()
    assert (report.state, report.revision, report.slot, report.incarnation, report.problem) == (
        "training",
        4,
        1,
        2,
        None,
    )
    status.move(WorkerState.FINISHED)
    with pytest.raises(AssertionError):
        status.move(WorkerState.FORMING)


def test_counters_outlive_trainers():
    meters = Meters()
    counts = [1] + [0] * 15
    progress = {"epoch": 1, "totalStep": 1, "metrics": [{"name": "loss", "value": "nan"}]}
    message = {"stepCounts": counts, "stepSeconds": 0.5, "samples": 32, "progress": progress}
    meters.trainer_says(message)
    meters.trainer_says(message)  # cumulative: saying it twice counts once
    meters.trainer_ended()
    meters.trainer_says(message)
    assert (meters.steps().counts[0], meters.steps().total, meters.samples()) == (2, 1.0, 64)
    text = exposition(meters, Status(0, 0))
    assert 'kerasjob_trainer_step_duration_seconds_bucket{le="0.001"} 2.0' in text
    assert "kerasjob_trainer_samples_total 64.0" in text
    assert "kerasjob_trainer_loss NaN" in text


def test_a_histogram_counts_bounds_in():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]


def test_staged_files_with_names_of_keras_datasets_are_linked(tmp_path):
    files = [tmp_path / name for name in ("mnist.npz", "train-images-idx3-ubyte.gz", "mine.csv")]
    for path in files:
        path.write_text(path.name)
    assert link_datasets(files, tmp_path / "keras") == ["mnist.npz", "train-images-idx3-ubyte.gz"]
    assert link_datasets(files[:1], tmp_path / "keras") == ["mnist.npz"]  # again: fine
    assert (tmp_path / "keras/datasets/mnist.npz").read_text() == "mnist.npz"
    assert (tmp_path / "keras/datasets/fashion-mnist/train-images-idx3-ubyte.gz").exists()


class Refusing(DirectoryStore):
    """A store that says no a number of times."""

    def __init__(self, root: Path, times: int) -> None:
        super().__init__(root)
        self.times = times

    def put_file(self, key: str, path: Path) -> None:
        self.times -= 1
        if self.times >= 0:
            raise StoreError("the store is full")
        super().put_file(key, path)


@pytest.mark.parametrize(("phase", "times", "saved"), [("epochEnd", 2, 1), ("epochEnd", 5, 0), ("callEnd", 7, 1)])
def test_an_upload_is_tried_again_and_given_up_only_where_nothing_later_needs_it(
    phase, times, saved, tmp_path, monkeypatch
):
    monkeypatch.setattr(uploads, "_WAITS_SECONDS", (0.0,) * 4)
    store = Refusing(tmp_path / "store", times)
    status, meters = Status(0, 0), Meters()
    queue = uploads.Uploads(lambda: Checkpoints(store, "uid", KeepConfig()), status, meters, print)
    for name in FILES:
        (tmp_path / name).write_text("x")
    files = Files({name: tmp_path / name for name in FILES})
    files_are_there = weakref.ref(files)
    queue.add(Saved(files, 1, 6, None, {"call": 0, "epoch": 1, "phase": phase}, ()))
    assert queue.drain(10)
    assert (meters.checkpoints, meters.checkpoint_failures) == (saved, 1 - saved)
    del files
    assert files_are_there() is None
    report = status.report()
    assert (report.checkpoint is not None, report.problem is None) == (bool(saved), bool(saved))


class RingEnds(DirectoryStore):
    """A store in which a ring begins while the files of a checkpoint are being written."""

    def put_file(self, key: str, path: Path) -> None:
        super().put_file(key, path)
        Checkpoints(self, "uid", KeepConfig()).claim(2)
        self.begun()


@pytest.mark.parametrize(("is_member", "told"), [(True, []), (False, [1])])
def test_who_is_of_the_next_ring_commits_in_it_and_who_is_not_is_told_which_is_over(is_member, told, tmp_path):
    store = RingEnds(tmp_path / "store")
    status, meters, over = Status(0, 0), Meters(), []
    for state in (WorkerState.READY, WorkerState.FORMING, WorkerState.TRAINING):
        status.move(state, revision=1)

    def begun():
        if is_member and status.revision == 1:
            status.move(WorkerState.FORMING, revision=2)

    store.begun = begun
    queue = uploads.Uploads(lambda: Checkpoints(store, "uid", KeepConfig()), status, meters, over.append)
    for name in FILES:
        (tmp_path / name).write_text("x")
    files = Files({name: tmp_path / name for name in FILES})
    queue.add(Saved(files, 1, 6, None, {"call": 0, "epoch": 1, "phase": "epochEnd"}, ()))
    assert queue.drain(10)
    assert (over, meters.checkpoints) == (told, int(is_member))


class Meanwhile(DirectoryStore):
    """A store in which something else happens once: when something is written or listed."""

    def __init__(self, root: Path, when: str, happens) -> None:
        super().__init__(root)
        self.when, self.happens = when, happens

    def put_file(self, key: str, path: Path) -> None:
        super().put_file(key, path)
        self._look(key)

    def entries(self, prefix: str):
        self._look(prefix)
        return super().entries(prefix)

    def _look(self, key: str) -> None:
        if key.endswith(self.when) and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()


def test_a_checkpoint_that_is_being_committed_is_whole_though_it_was_taken_for_left_over(tmp_path):
    """Worker 1 stores what it held, of ring 1, while the leader of ring 2 deletes what no ring commits any more."""
    other = Checkpoints(DirectoryStore(tmp_path / "store"), "uid", KeepConfig())
    thinned = []
    store = Meanwhile(tmp_path / "store", "state.safetensors", lambda: thinned.extend(other.thin_out(2)))
    checkpoints = Checkpoints(store, "uid", KeepConfig())
    saved = save(checkpoints, tmp_path, 5, 1, acting=2)
    assert thinned == [saved.id]
    assert checkpoints.newest_whole(tmp_path / "restored").id == saved.id


@pytest.mark.parametrize("listed", ["manifests/", "checkpoints/"])
def test_what_is_committed_while_it_is_looked_for_is_not_left_over(listed, tmp_path):
    other = Checkpoints(DirectoryStore(tmp_path / "store"), "uid", KeepConfig())
    store = Meanwhile(tmp_path / "store", listed, lambda: save(other, tmp_path, 5, 1, acting=2))
    Checkpoints(store, "uid", KeepConfig()).thin_out(2)
    assert other.newest_whole(tmp_path / "restored").step == 5


def test_a_signal_that_a_stopped_process_has_not_taken_is_pending():
    program = "import time; print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        child.stdout.read(1)
        assert not is_pending(child.pid, signal.SIGTERM)
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        child.send_signal(signal.SIGTERM)
        assert is_pending(child.pid, signal.SIGTERM)
        assert not is_pending(child.pid, signal.SIGUSR2)
        child.kill()
    assert not is_pending(child.pid, signal.SIGTERM)
