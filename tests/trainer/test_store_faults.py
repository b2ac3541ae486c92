"""The store fails in the middle of training: nothing is lost, it is said, and the next good save heals it."""

import os
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.trainer.faulty_s3 import FaultyS3
from tests.trainer.harness import eventually
from tests.trainer.test_s3 import KEY, SECRET, server, write_keys  # noqa: F401

from kerasjob_api.wire import KeepConfig, ProgramConfig, S3Access, WorkerConfig
from kerasjob_trainer import uploads
from kerasjob_trainer.checkpoints import Checkpoints
from kerasjob_trainer.endings import Endings
from kerasjob_trainer.manifests import Files, Saved
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status
from kerasjob_trainer.store import open_store
from kerasjob_trainer.store import s3 as s3_module
from kerasjob_trainer.store.directory import DirectoryStore

# Uploaded in three parts.
BYTES = 20 * 1024**2
# More often than boto3 tries by itself, in every part.
OFTEN = 12


class World:
    """An agent's uploads to a store that fails when it is told to."""

    def __init__(self, folder: Path, open_: object) -> None:
        self.folder, self.status, self.meters = folder, Status(0, 0), Meters()
        self.checkpoints = lambda: Checkpoints(open_(), "uid", KeepConfig())
        self.uploads = uploads.Uploads(self.checkpoints, self.status, self.meters, lambda revision: None)

    def save(self, step: int) -> None:
        directory = self.folder / f"of-{step}"
        directory.mkdir()
        (directory / "state.safetensors").write_bytes(os.urandom(64) * (BYTES // 64))
        (directory / "session.json").write_text(f'{{"step": {step}}}')
        files = Files({path.name: path for path in directory.iterdir()})
        self.uploads.add(Saved(files, 1, step, None, {"call": 0, "epoch": 0, "phase": "step"}, ()))

    def problem(self) -> str:
        return eventually(lambda: self.status.report().problem, "a problem is said").message

    def newest(self, name: str = "restored") -> int | None:
        manifest = self.checkpoints().newest_whole(self.folder / name)
        return None if manifest is None else manifest.step


@pytest.fixture
def faulty(server):  # noqa: F811
    proxy = FaultyS3(server)
    yield proxy
    proxy.close()


@pytest.fixture
def world(faulty, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "_WAITS_SECONDS", (0.2,) * 4)
    monkeypatch.setattr(s3_module, "READ_SECONDS", 1)
    keys = tmp_path / "keys"
    write_keys(keys, KEY, SECRET)
    access = S3Access(faulty.endpoint, "us-east-1", "keys")
    return World(tmp_path, lambda: open_store(f"s3://bucket/{tmp_path.name}/", access, keys))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("InternalError", "InternalError"),
        ("SlowDown", "SlowDown"),
        ("ServiceUnavailable", "ServiceUnavailable"),
        ("ExpiredToken", "ExpiredToken"),
        ("QuotaExceeded", "QuotaExceeded"),
        ("reset", "cannot be reached"),
        ("silence", "cannot be reached"),
    ],
)
def test_a_fault_is_said_and_heals(fault, words, world, faulty):
    world.save(20)
    assert world.uploads.drain(60)
    faulty.show(fault, "PUT", OFTEN)
    world.save(40)
    assert words in (said := world.problem())
    assert said.startswith("checkpoint of step 40: ")
    assert world.newest("meanwhile") == 20
    faulty.show("", "", 0)
    faulty.quiet.set()
    assert world.uploads.drain(60)
    assert (world.meters.checkpoints, world.status.report().problem) == (2, None)
    assert world.newest() == 40


def test_a_store_that_is_down_for_long_costs_checkpoints_and_no_more(world, faulty):
    world.save(20)
    assert world.uploads.drain(60)
    faulty.show("InternalError", "PUT", 1_000_000)
    world.save(40)
    assert world.uploads.drain(120)
    assert (world.meters.checkpoints, world.meters.checkpoint_failures) == (1, 1)
    assert world.status.report().problem is not None
    faulty.show("", "", 0)
    world.save(60)
    assert world.uploads.drain(60)
    assert (world.meters.checkpoints, world.status.report().problem) == (2, None)
    assert world.newest() == 60


@pytest.fixture
def told_to_stop(world, monkeypatch):
    """Has the agent end, within so many seconds; the record is that of its termination message."""
    config = WorkerConfig("default", "job", "uid", 1, 1, ProgramConfig(script="train.py"))
    settings = Settings(config, 0, 0, "", 0, world.folder, "", Path(), Path(), Path())
    ended, records = threading.Event(), []
    endings = Endings(settings, world.status, world.uploads, None)

    def at_once(code, record):
        records.append((code, record))
        ended.set()

    monkeypatch.setattr(endings, "at_once", at_once)

    def stop(seconds):
        endings.preempted(time.monotonic() + seconds)

    return SimpleNamespace(stop=stop, ended=ended, records=records)


def test_a_stop_while_the_store_is_down_for_a_while_loses_nothing(world, faulty, told_to_stop):
    faulty.show("InternalError", "PUT", 1_000_000)
    world.save(20)
    world.save(40)
    assert world.problem()
    told_to_stop.stop(60)
    eventually(lambda: world.meters.checkpoint_failures, "the one before, which the last one replaces, is given up")
    tries = faulty.shown
    eventually(lambda: faulty.shown > tries + 3 * (len(uploads._WAITS_SECONDS) + 2), "the last one is tried on")
    assert not told_to_stop.ended.is_set()
    faulty.show("", "", 0)
    assert told_to_stop.ended.wait(60)
    assert world.newest() == 40
    ((code, record),) = told_to_stop.records
    assert (code, record.message) == (30, "told to stop; the program goes on from its last checkpoint")
    assert record.checkpoint.step == 40


def test_a_stop_that_the_store_outlasts_says_what_is_not_stored(world, faulty, told_to_stop):
    faulty.show("InternalError", "PUT", 1_000_000)
    world.save(40)
    assert world.problem()
    told_to_stop.stop(1)
    assert told_to_stop.ended.wait(60)
    ((_, record),) = told_to_stop.records
    assert "what was saved last is not in the store (checkpoint of step 40: " in record.message
    assert "InternalError" in record.message


def test_what_the_store_has_damaged_is_passed_over(world, faulty):
    world.save(20)
    assert world.uploads.drain(60)
    faulty.show("damage", "PUT", 1)
    world.save(40)
    assert world.uploads.drain(60)
    assert faulty.shown == 1
    assert world.newest() == 20


@pytest.mark.parametrize("fault", ["InternalError", "SlowDown", "reset"])
def test_a_restore_tries_again(fault, world, faulty):
    world.save(20)
    assert world.uploads.drain(60)
    faulty.show(fault, "GET", 1)
    assert world.newest() == 20
    assert faulty.shown == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a full volume is a mounted one, which takes root")
def test_a_full_volume_is_said_and_heals(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "_WAITS_SECONDS", (0.2,) * 4)
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(volume)], check=True)
    try:
        world = World(tmp_path, lambda: DirectoryStore(volume / "store"))
        world.save(20)
        assert world.uploads.drain(60)
        (volume / "somebody's").write_bytes(bytes(20 * 1024**2))
        world.save(40)
        assert "No space left on device" in world.problem()
        assert world.newest("meanwhile") == 20
        (volume / "somebody's").unlink()
        assert world.uploads.drain(60)
        assert (world.newest(), world.status.report().problem) == (40, None)
    finally:
        subprocess.run(["umount", str(volume)], check=True)
