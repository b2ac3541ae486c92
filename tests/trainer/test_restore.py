"""What a ring goes on from: the newest of what workers hold and of what is stored, whole or not at all."""

import dataclasses
import json
import os
from types import SimpleNamespace

import pytest
from tests.trainer.stores import save

from kerasjob_api.constants import SavePhase
from kerasjob_api.wire import CheckpointConfig, KeepConfig, Member, ProgramConfig, Ring, WorkerConfig
from kerasjob_trainer import held as held_module
from kerasjob_trainer import restore
from kerasjob_trainer.checkpoints import Checkpoints
from kerasjob_trainer.held import Shelf, files_of_trainer
from kerasjob_trainer.manifests import Files, Saved, checkpoint_id
from kerasjob_trainer.run import Run
from kerasjob_trainer.server import serve
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status
from kerasjob_trainer.store.directory import DirectoryStore


def held(folder, step, revision, keep=(), phase="step") -> Saved:
    id_ = checkpoint_id(step, SavePhase.STEP, revision)
    directory = folder / id_
    directory.mkdir(parents=True)
    (directory / "state.safetensors").write_text(f"held {step}")
    (directory / "session.json").write_text(json.dumps({"step": step}))
    files = Files({path.name: path for path in directory.iterdir()})
    return Saved(files, revision, step, None, {"phase": phase}, tuple(keep))


class PeerApi:
    """The part of an agent that other workers ask."""

    def __init__(self, shelf):
        self.shelf = shelf

    def held(self, revision):
        return self.shelf.all()

    def held_file(self, id_, name):
        return self.shelf.file(id_, name)


@pytest.fixture
def world(tmp_path):
    """The leader's side of a ring of two, whose other member is a real HTTP server."""
    peer = Shelf(1)
    server = serve("127.0.0.1", 0, "token", PeerApi(peer))
    members = (Member(0, 0, "127.0.0.1", 1, 2), Member(1, 0, "127.0.0.1", server.server_address[1], 3))
    program = ProgramConfig(script="train.py")
    config = WorkerConfig("default", "job", "uid", 2, 1, program, checkpoint=CheckpointConfig(str(tmp_path / "store")))
    settings = Settings(config, 0, 0, "", 0, tmp_path / "leader", "token", tmp_path, tmp_path, tmp_path)
    checkpoints = Checkpoints(
        DirectoryStore(tmp_path / "store" / settings.config.uid), settings.config.uid, KeepConfig()
    )
    own, status = Shelf(1), Status(0, 0)

    def decide(revision=5):
        run = Run(Ring(settings.config.uid, revision, members), 0)
        return restore.prepare(run, settings, status, own)

    yield SimpleNamespace(peer=peer, own=own, checkpoints=checkpoints, decide=decide, settings=settings, at=tmp_path)
    server.shutdown()
    server.server_close()


def restored(world, point, name="state.safetensors", revision=5):
    return (world.settings.restored / f"r{revision}" / point.checkpoint / name).read_text()


def test_nothing_anywhere_is_a_start_from_the_beginning(world):
    assert world.decide() == restore.RestorePoint(None)


def test_a_step_that_a_peer_holds_is_newer_than_the_store(world):
    save(world.checkpoints, world.at / "s", 6, 4)
    world.peer.put(held(world.at / "peer", 9, 4))
    point = world.decide()
    assert point == restore.RestorePoint("000000000009.0-r4", 1)
    assert restored(world, point) == "held 9"


def test_of_two_the_step_ahead_counts(world):
    world.own.put(held(world.at / "own", 8, 4))
    world.peer.put(held(world.at / "peer", 9, 4))
    assert world.decide().rank == 1


def test_what_is_held_of_an_old_ring_is_older_than_what_a_later_one_has_stored(world):
    world.own.put(held(world.at / "own", 9, 3))
    save(world.checkpoints, world.at / "s", 8, 4)
    assert world.decide() == restore.RestorePoint(checkpoint_id(8, SavePhase.EPOCH_END, 4))


def test_what_does_not_verify_is_passed_over_for_the_next(world):
    torn = held(world.at / "peer", 9, 4)
    world.peer.put(torn)
    torn.files.records()
    torn.files.paths["state.safetensors"].write_text("torn 9")
    world.own.put(held(world.at / "own", 8, 4))
    point = world.decide()
    assert (point, restored(world, point)) == (restore.RestorePoint("000000000008.0-r4", 0), "held 8")


def test_what_it_needs_comes_from_the_store_and_without_it_there_is_nothing(world):
    end = save(world.checkpoints, world.at / "s", 4, 4).id
    world.peer.put(held(world.at / "peer", 9, 4, keep=[end]))
    point = world.decide()
    assert point.rank == 1
    assert (world.settings.restored / "r5" / end / "state.safetensors").exists()
    world.peer.put(held(world.at / "peer2", 10, 4, keep=[end, "000000000005.2-r4"]))
    assert world.decide().checkpoint == end  # whatever else is lost, what goes on is whole


def test_what_an_end_that_it_needs_has_needed_itself_may_be_gone(world):
    first = save(world.checkpoints, world.at / "s", 4, 4).id
    second = save(world.checkpoints, world.at / "s", 5, 4, keep=[first]).id
    world.checkpoints.store.delete([f"manifests/{first}.json"])
    world.peer.put(held(world.at / "peer", 9, 4, keep=[second]))
    assert world.decide() == restore.RestorePoint("000000000009.0-r4", 1)


def test_a_store_that_is_down_does_not_keep_what_is_held(world):
    world.own.put(held(world.at / "own", 9, 4))
    broken = dataclasses.replace(
        world.settings, config=dataclasses.replace(world.settings.config, checkpoint=CheckpointConfig("s3://b/c"))
    )
    run = Run(Ring(broken.config.uid, 5, (Member(0, 0, "127.0.0.1", 1, 2),)), 0)
    assert restore.prepare(run, broken, Status(0, 0), world.own).rank == 0


def test_a_shelf_holds_the_newest_and_the_end_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(held_module, "SMALL_BYTES", 0)
    shelf = Shelf(1)
    first, second = held(tmp_path, 4, 4, phase="callEnd"), held(tmp_path, 8, 4, phase="callEnd")
    step, newest = held(tmp_path, 9, 4, keep=[first.id, second.id]), held(tmp_path, 10, 4, keep=[first.id, second.id])
    for saved in (first, second, step, newest, held(tmp_path, 9, 3)):
        shelf.put(saved)
    assert shelf.all() == [newest, second, first], "what is on its way to the store is here too"
    first_id = first.id
    del first, saved
    assert shelf.all() == [newest, second]
    assert shelf.file(first_id, "state.safetensors") is None
    assert shelf.file(newest.id, "state.safetensors") == newest.files.paths["state.safetensors"]
    assert shelf.file(newest.id, "../session.json") is None
    assert shelf.file(step.id, "state.safetensors") is None
    everything = Shelf(1000)
    first = held(tmp_path / "again", 4, 4, phase="callEnd")
    for saved in (first, held(tmp_path / "other", 8, 4, keep=[first.id], phase="callEnd"), newest):
        everything.put(saved)
    assert len(everything.all()) == 3


def test_a_shelf_holds_all_small_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(held_module, "SMALL_BYTES", 3 * len("held 4"))
    shelf = Shelf(1)
    for step in (1, 2, 3):
        shelf.put(held(tmp_path, step, 4, phase="callEnd", keep=[f"00000000000{n}.2-r4" for n in range(1, step)]))
    shelf.put(held(tmp_path, 4, 4, keep=[f"00000000000{n}.2-r4" for n in (1, 2, 3)]))
    assert [one.step for one in shelf.all()] == [4, 3, 2]


def test_ends_that_are_not_stored_yet_come_from_who_stores_them(world, monkeypatch):
    monkeypatch.setattr(held_module, "SMALL_BYTES", 0)
    queue = [held(world.at / "peer", step, 4, phase="callEnd") for step in (4, 5)]
    for end in queue:
        world.peer.put(end)
    world.peer.put(held(world.at / "peer", 9, 4, keep=[end.id for end in queue]))
    assert world.decide() == restore.RestorePoint("000000000009.0-r4", 1)
    for end in queue:
        assert (world.settings.restored / "r5" / end.id / "state.safetensors").read_text() == f"held {end.step}"


def test_the_files_of_a_trainer_go_with_the_last_who_refers_to_them(tmp_path):
    directory, released = tmp_path / "files", []
    directory.mkdir()
    (directory / "session.json").write_text("{}")
    state = os.memfd_create("state")
    os.write(state, b"tensors")
    files = files_of_trainer(state, directory, lambda: released.append(1))
    assert {name: path.read_bytes() for name, path in files.paths.items()} == {
        "session.json": b"{}",
        "state.safetensors": b"tensors",
    }
    shelf = Shelf(1)
    shelf.put(Saved(files, 4, 9, None, {"phase": "step"}, ()))
    del files
    assert released == []
    shelf.put(held(tmp_path, 10, 4))
    assert released == [1]
    assert not directory.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(state)
