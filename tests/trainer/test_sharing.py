"""A state that is stored by several workers is what one would have stored, whatever becomes of the others."""

import hashlib
import textwrap
import threading

import numpy as np
import pytest
from tests.trainer.harness import EPOCH_GATE, Gates
from tests.trainer.test_s3 import KEY, SECRET, server, write_keys  # noqa: F401

from kerasjob_api.wire import S3Access
from kerasjob_trainer import sharing
from kerasjob_trainer.store import StoreError, open_store

SIZE = 24 * 1024**2 + 5


@pytest.fixture
def store(server, tmp_path):  # noqa: F811
    write_keys(tmp_path / "keys", KEY, SECRET)
    return open_store(f"s3://bucket/{tmp_path.name}/", S3Access(server, "us-east-1", "keys"), tmp_path / "keys")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(sharing, "PART_BYTES", 5 * 1024**2)  # the least that S3 takes
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 0.5)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "state"
    file.write_bytes(np.random.default_rng(1).bytes(SIZE))
    return file


class Other:
    """Another worker, with a file of its own."""

    def __init__(self, store, path):
        self.store, self.path, self.sent = store, path, 0

    def send_share(self, id_, name, share, timeout_seconds):
        assert (id_, name) == ("7.1-r1", "state.safetensors")
        answer = sharing.send(self.store, self.path, share)
        self.sent += share.num_bytes
        return answer


class Failing(Other):
    def send_share(self, *_):
        raise ConnectionResetError("gone")


class Hanging(Other):
    end = threading.Event()

    def send_share(self, *_):
        self.end.wait(60)


def put(store, path, *others):
    sharing.put(store, "7.1-r1/state", path, "7.1-r1", "state.safetensors", others)


def assert_stored(store, path, tmp_path):
    assert store.get_file("7.1-r1/state", tmp_path / "found")
    assert (tmp_path / "found").read_bytes() == path.read_bytes()


def test_each_sends_its_share(store, path, tmp_path):
    others = [Other(store, path), Other(store, path)]
    put(store, path, *others)
    assert_stored(store, path, tmp_path)
    assert sum(other.sent for other in others) > SIZE / 2
    assert all(other.sent < SIZE / 2 for other in others)


def test_more_workers_than_parts(store, path, tmp_path):
    put(store, path, *(Other(store, path) for _ in range(9)))
    assert_stored(store, path, tmp_path)


@pytest.mark.parametrize("kind", [Failing, Hanging])
def test_one_that_fails_or_hangs_is_done_without(store, path, tmp_path, kind):
    Hanging.end.clear()
    try:
        put(store, path, Other(store, path), kind(store, path))
    finally:
        Hanging.end.set()
    assert_stored(store, path, tmp_path)


def test_what_another_holds_otherwise_is_not_stored(store, path, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes()[:-1] + b"?")
    put(store, path, Other(store, other), Other(store, other))
    assert_stored(store, path, tmp_path)
    (tmp_path / "short").write_bytes(path.read_bytes()[:1000])
    put(store, path, Other(store, tmp_path / "short"))
    assert_stored(store, path, tmp_path)


def test_a_small_one_is_sent_alone(store, tmp_path):
    small = tmp_path / "small"
    small.write_bytes(b"x" * 1000)
    other = Other(store, small)
    put(store, small, other)
    assert_stored(store, small, tmp_path)
    assert other.sent == 0


def test_a_store_that_ends_it_with_an_error_leaves_nothing(store, path, monkeypatch):
    def refuse(*_):
        raise StoreError("no")

    monkeypatch.setattr(store, "end_parts", refuse)
    with pytest.raises(StoreError):
        put(store, path, Other(store, path))
    assert store.get("7.1-r1/state") is None
    assert not store._client.list_multipart_uploads(Bucket="bucket").get("Uploads")


PROGRAM = EPOCH_GATE + textwrap.dedent("""
    import keras, numpy as np

    x = np.ones((8, 1200), "float32")
    model = keras.Sequential([keras.Input((1200,)), keras.layers.Dense(1200)])
    model.compile("adam", "mse")
    model.fit(x, x, epochs=2, verbose=0, callbacks=[Gate()])
""")


def test_agents_of_a_ring_share(job, server, tmp_path):  # noqa: F811
    s3 = {"endpoint": server, "region": "us-east-1", "secretName": "my-secret"}
    config = {"checkpoint": {"uri": "s3://bucket/shared"}, "s3": s3}
    gates = Gates(tmp_path / "gates", "epoch-1")
    program = {"source": PROGRAM, "args": [str(gates.folder)]}
    made = job(program=program, uid=tmp_path.name, config=config)
    write_keys(made.folder / "s3-keys", KEY, SECRET)
    leader, other = made.start_all()
    made.form()
    gates.wait_for("epoch-1", made)
    leader.wait_for(lambda report: report["checkpoint"], "a checkpoint is committed")
    # That of the end may be stored when the other worker has ended.
    assert "share of a checkpoint is sent here" not in leader.log()
    assert "bytes of a checkpoint is sent" in other.log()
    gates.open("epoch-1")
    assert (leader.wait_for_end(), other.wait_for_end()) == (0, 0), leader.log()
    store = open_store(f"s3://bucket/shared/{tmp_path.name}/", S3Access(server, "us-east-1"), made.folder / "s3-keys")
    state, _ = [entry for entry in store.entries("checkpoints/") if entry.key.endswith("-state.safetensors")]
    content = store.get(state.key)
    assert len(content) > sharing.SHARED_MIN_BYTES
    assert f"/{hashlib.sha256(content).hexdigest()[:16]}-" in state.key
    assert "-" in store._client.head_object(Bucket="bucket", Key=store.prefix + state.key)["ETag"], "of several parts"
