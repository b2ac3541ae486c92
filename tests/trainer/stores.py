"""What every kind of store must do, and checkpoints in it. Called with a directory and with S3."""

import json
import threading

import pytest

from kerasjob_api.constants import SavePhase
from kerasjob_api.wire import KeepConfig
from kerasjob_trainer.checkpoints import Checkpoints, Superseded
from kerasjob_trainer.manifests import Files, Saved
from kerasjob_trainer.manifests import checkpoint_id as id_of
from kerasjob_trainer.store import Entry


def store_does_what_it_says(store, folder, *, is_atomic: bool = True) -> None:
    """is_atomic: of several that write what is absent at the same moment only one does. The S3 server of these tests
    looks first and writes then, which S3 itself does not.
    """
    assert store.entries("") == []
    assert store.get("a") is None
    assert not store.get_file("a", folder / "got")
    (folder / "file").write_bytes(b"x" * 100)
    store.put_file("deep/er/a", folder / "file")
    store.put_file("deep/b", folder / "file")
    assert store.entries("deep/") == [Entry("deep/b", 100), Entry("deep/er/a", 100)]
    assert store.entries("deep/e") == [Entry("deep/er/a", 100)]
    assert store.get_file("deep/er/a", folder / "got")
    assert (folder / "got").read_bytes() == b"x" * 100
    assert not store.copy("never-there", "copy", folder / "file")
    if store.copy("deep/b", "copy", folder / "file"):
        assert store.get("copy") == b"x" * 100
        (folder / "other").write_bytes(b"y" * 100)
        assert not store.copy("deep/b", "copy", folder / "other")
        store.delete(["copy"])
    assert store.get("copy") is None
    stored = []
    threads = [
        threading.Thread(target=lambda n=n: stored.append((store.put_if_absent("once", b"%d" % n), n)))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [n for was_stored, n in stored if was_stored]
    assert len(winners) == 1 or (winners and not is_atomic)
    assert store.get("once") in [b"%d" % winner for winner in winners]
    assert not store.put_if_absent("once", b"later")
    store.delete(["deep/b", "deep/er/a", "once", "never-there"])
    assert store.entries("") == []


def checkpoint_id(step: int, revision: int) -> str:
    return id_of(step, SavePhase.EPOCH_END, revision)


def save(
    checkpoints: Checkpoints,
    folder,
    step: int,
    revision: int,
    keep=(),
    parent=None,
    content="tensors",
    session="{}",
    acting=None,
):
    directory = folder / f"snapshot-{step}-{revision}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "state.safetensors").write_bytes(f"{content} {step}".encode())
    (directory / "session.json").write_text(session)
    position = {"call": 0, "epoch": step, "step": 0, "phase": "epochEnd"}
    files = Files({path.name: path for path in directory.iterdir()})
    saved = Saved(files, revision, step, parent, position, tuple(keep))
    return checkpoints.commit(saved, revision if acting is None else acting)


def key_of(store, id_: str, name: str) -> str:
    (key,) = [entry.key for entry in store.entries(f"checkpoints/{id_}/") if entry.key.endswith(f"-{name}")]
    return key


def ids(checkpoints: Checkpoints) -> list[str]:
    return [manifest.id for manifest in checkpoints.manifests()]


def checkpoints_do_what_they_say(store, folder) -> None:
    checkpoints = Checkpoints(store, "uid", KeepConfig(last=2))
    checkpoints.probe()
    assert checkpoints.newest_whole(folder / "restored") is None
    end_of_first_call = checkpoint_id(1, 1)
    assert save(checkpoints, folder, 1, 1).id == end_of_first_call
    save(checkpoints, folder, 2, 1, keep=[end_of_first_call])
    save(checkpoints, folder, 3, 1, keep=[end_of_first_call])
    assert save(checkpoints, folder, 3, 1, content="others") is None  # another writer of the same id: the first stands
    # Several workers of a ring that is told to stop have the same state to save: what the first one has written stays.
    assert save(checkpoints, folder, 3, 1, session='{"by": "another worker"}').id == checkpoint_id(3, 1)
    assert checkpoints.newest_whole(folder / "first").id == checkpoint_id(3, 1)
    assert (folder / "first" / checkpoint_id(3, 1) / "session.json").read_text() == "{}"
    save(checkpoints, folder, 2, 2, keep=[end_of_first_call], parent=end_of_first_call)
    assert ids(checkpoints) == [checkpoint_id(2, 2), checkpoint_id(3, 1), checkpoint_id(2, 1), end_of_first_call]

    # A late leader of ring 1 keeps off what ring 2 wrote, even where there is too much of it.
    for step in (4, 5, 6):
        save(checkpoints, folder, step, 2, keep=[end_of_first_call])
    (folder / "orphan").write_text("")
    store.put_file("checkpoints/000000000009.0-r1/state.safetensors", folder / "orphan")
    store.put_file("checkpoints/000000000009.0-r2/state.safetensors", folder / "orphan")
    checkpoints.thin_out(1)
    assert ids(checkpoints) == [checkpoint_id(s, 2) for s in (6, 5, 4, 2)] + [end_of_first_call]
    checkpoints.thin_out(2)
    assert ids(checkpoints) == [checkpoint_id(6, 2), checkpoint_id(5, 2), end_of_first_call]
    left = {entry.key.split("/")[1] for entry in store.entries("checkpoints/")}
    # What has no manifest may be in the making, until its ring is over.
    assert left == {*ids(checkpoints), "000000000009.0-r2"}
    checkpoints.thin_out(3)
    left = {entry.key.split("/")[1] for entry in store.entries("checkpoints/")}
    assert left == set(ids(checkpoints))

    restored = checkpoints.newest_whole(folder / "restored")
    assert (restored.id, restored.keep) == (checkpoint_id(6, 2), [end_of_first_call])
    assert (folder / "restored" / restored.id / "state.safetensors").read_bytes() == b"tensors 6"
    assert (folder / "restored" / end_of_first_call / "session.json").exists()

    # Damage: another content, a part that is missing, half a manifest. Each is passed over for the one before.
    (folder / "damage").write_text("tensors 7")
    store.put_file(key_of(store, checkpoint_id(6, 2), "state.safetensors"), folder / "damage")
    assert checkpoints.newest_whole(folder / "r1").id == checkpoint_id(5, 2)
    save(checkpoints, folder, 7, 3)
    store.delete([key_of(store, checkpoint_id(7, 3), "session.json")])
    assert checkpoints.newest_whole(folder / "r2").id == checkpoint_id(5, 2)
    store.put_if_absent(f"manifests/{checkpoint_id(8, 3)}.json", b'{"step": ')
    assert checkpoints.newest_whole(folder / "r3").id == checkpoint_id(5, 2)

    # A ring that is over commits nothing; what its state was may be committed by the one that goes on from it.
    checkpoints.claim(4)
    before = store.entries("")
    with pytest.raises(Superseded, match="ring revision 3 is over: 4 has begun"):
        save(checkpoints, folder, 9, 3)
    with pytest.raises(Superseded):
        checkpoints.claim(2)
    assert store.entries("") == before
    assert save(checkpoints, folder, 9, 3, acting=4).id == checkpoint_id(9, 3)
    assert [entry.key for entry in store.entries("rings/")] == ["rings/00000004.json"]

    assert checkpoints.done() is None
    checkpoints.commit_done(3, [{"call": 0}], {"evaluate": []}, None)
    checkpoints.commit_done(4, [], {}, None)
    assert json.loads(store.get("done.json"))["ringRevision"] == 3
    assert checkpoints.done()["histories"] == [{"call": 0}]
