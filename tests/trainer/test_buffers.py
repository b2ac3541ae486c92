"""States in memory, in a file that the library of its format reads."""

import errno
import os
import sys
import threading

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from kerasjob_trainer import held
from kerasjob_trainer.held import Shelf, files_of_trainer
from kerasjob_trainer.manifests import Saved
from kerasjob_trainer.trainer.session import buffers
from kerasjob_trainer.trainer.session.buffers import BUFFERS, BUFFERS_MAX, Buffers

TENSORS = {
    "a/kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "a/transposed": np.arange(6, dtype="float64").reshape(2, 3).T,
    "step": np.array(7, dtype="int64"),
    "mask": np.array([True, False, True]),
    "half": np.array([0.5, 1.5], dtype=ml_dtypes.bfloat16),
    "empty": np.zeros((0, 4), dtype="int32"),
    "ü": np.array([250], dtype="uint8"),
}


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(buffers, "SMALL_BYTES", 0)
    return Buffers()


def test_what_is_written_is_read_by_the_library_again_and_again(pool):
    buffer = pool.take()
    for scale in (1, 2):
        tensors = {name: value * value.dtype.type(scale) for name, value in TENSORS.items()}
        buffer.write(tensors)
        found = load_file(f"/proc/self/fd/{buffer.fd}")
        assert found.keys() == tensors.keys()
        for name, value in tensors.items():
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert found[name].tobytes() == value.tobytes()
    buffer.write({"other": np.zeros(1000)})
    assert load_file(f"/proc/self/fd/{buffer.fd}")["other"].shape == (1000,)


def test_memory_is_made_before_it_is_needed_and_waited_for_where_it_is_needed_soon(pool, monkeypatch):
    tensors = {"w": np.arange(100_000, dtype="float32")}
    touched, go_on = [], threading.Event()
    touch = buffers.Buffer.touch

    def slowly(buffer, size):
        go_on.wait(10)
        touch(buffer, size)
        touched.append(buffer)

    monkeypatch.setattr(buffers.Buffer, "touch", slowly)
    own = pool.take()
    pool.prepare(400_000)
    threading.Timer(0.1, go_on.set).start()
    prepared = pool.take()
    assert touched == [prepared]
    mapped = prepared.content
    prepared.write(tensors)
    assert prepared.content is mapped
    assert load_file(f"/proc/self/fd/{prepared.fd}")["w"].tobytes() == tensors["w"].tobytes()
    pool.prepare(400_000)
    assert touched == [prepared], "there are as many as there may be"
    pool.give_back(own.number)
    assert pool.take() is own


def test_a_fault_while_memory_is_made_keeps_no_save_waiting(pool, monkeypatch):
    def fault(*_):
        raise RuntimeError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(buffers.Buffer, "touch", fault)
    own = pool.take()
    pool.prepare(400_000)
    assert pool.take() not in (own, None)


def test_memory_that_cannot_be_had_in_advance_is_tried_again_by_the_save(pool, monkeypatch):
    def has_none(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(buffers.os, "posix_fallocate", has_none)
    pool.prepare(400_000)
    buffer = pool.take()
    buffer.write(TENSORS)
    assert load_file(f"/proc/self/fd/{buffer.fd}").keys() == TENSORS.keys()


def test_a_type_that_the_format_lacks_is_named(pool):
    with pytest.raises(TypeError, match="names: a checkpoint cannot hold tensors of type"):
        pool.take().write({"names": np.array(["a"])})


def test_memory_is_bounded_and_used_again(pool):
    both = [pool.take() for _ in range(BUFFERS)]
    assert pool.take() is None
    pool.give_back(both[0].number)
    assert pool.take() is both[0]
    extra = pool.take_extra(lambda: None)
    pool.give_back(extra.number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        extra.write(TENSORS)
    assert pool.take() is None


def test_the_end_of_a_call_waits_where_very_many_are_in_use(pool):
    taken = [pool.take_extra(lambda: None) for _ in range(BUFFERS_MAX)]
    waits, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(pool.take_extra(waits.set)))
    thread.start()
    assert waits.wait(10)
    pool.give_back(taken[0].number)
    pool.give_back(taken[1].number)
    pool.give_back(taken[2].number)
    thread.join(10)
    assert found[0] in taken


class Agent:
    """Holds what a trainer says as the agent does, and has stored it at once."""

    def __init__(self, pool, num_ends, folder):
        self.pool, self.shelf, self.folder = pool, Shelf(num_ends), folder
        self.ends, self.step = [], 0

    def put(self, buffer, phase):
        self.step += 1
        buffer.write(TENSORS)
        directory = self.folder / str(self.step)
        directory.mkdir()
        files = files_of_trainer(os.dup(buffer.fd), directory, lambda: self.pool.give_back(buffer.number))
        saved = Saved(files, 1, self.step, None, {"phase": phase}, tuple(self.ends))
        self.shelf.put(saved)
        if phase == "callEnd":
            self.ends.append(saved.id)


@pytest.mark.parametrize(("most", "num_ends"), [(BUFFERS_MAX, 1), (sys.maxsize, 1000)])
def test_later_calls_save_as_the_first_one_does(most, num_ends, monkeypatch, tmp_path):
    """Though the agent holds states of the ends of those before: the newest, or all of them where there is no store."""
    monkeypatch.setattr(buffers, "SMALL_BYTES", 0)
    monkeypatch.setattr(held, "SMALL_BYTES", 0)
    pool = Buffers(most)
    agent = Agent(pool, num_ends, tmp_path)
    for _ in range(6):
        for _ in range(3):
            buffer = pool.take()
            assert buffer is not None
            agent.put(buffer, "step")
        agent.put(pool.take_extra(lambda: pytest.fail("waits for ever")), "callEnd")
    assert len(pool._all) <= 2 + min(num_ends, 6)


def test_who_waits_gets_the_first_that_is_given_back_and_says_meanwhile_that_it_waits(pool, monkeypatch):
    monkeypatch.setattr(buffers, "SAY_SECONDS", 0.01)
    taken = [pool.take_extra(lambda: None) for _ in range(BUFFERS_MAX)]
    said, found = threading.Semaphore(0), []
    thread = threading.Thread(target=lambda: found.append(pool.take_extra(said.release)))
    thread.start()
    assert all(said.acquire(timeout=10) for _ in range(3))
    pool.give_back(taken[1].number)
    thread.join(10)
    assert found == [taken[1]]


def test_one_that_ends_waits_for_none(pool):
    for _ in range(BUFFERS_MAX):
        pool.take_extra(lambda: None)
    threading.Timer(0.05, pool.wait_no_longer).start()
    assert pool.take_extra(lambda: None).number == BUFFERS_MAX
    assert pool.take_extra(lambda: None).number == BUFFERS_MAX + 1


def test_there_may_be_many_small_ones():
    many = Buffers()
    assert None not in [many.take() for _ in range(20)]
