"""Snapshots in memory: each is a safetensors file without a name (memfd), into which the state is copied once.

The agent is handed the file, reads it where it lies, and says when it is done. The trainer has two of them, which it
fills in turn: pages that are there already take a copy many times faster than new ones. Besides there are those of the
ends of calls, of which the agent holds the newest for as long as training goes on. Used by the saver.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# While a `fit` trains. The state at the end of a call, and one that is rescued, may need one more each.
BUFFERS = 2
# Of small states there may be more, so that saves in quick succession are not left out.
SMALL_BYTES = 32 * 1024**2
# Beyond this many, the end of a call waits for the agent: else a store that is away would fill the memory.
BUFFERS_MAX = 4
# While it waits, it says so this often.
SAY_SECONDS = 1.0

# What a checkpoint holds, and what its format calls it.
KNOWN_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}

Tensors = dict[str, np.ndarray[Any, Any]]


@dataclass(eq=False)
class Buffer:
    """One file in memory. `number`: by which the agent gives it back."""

    number: int
    fd: int
    size: int = 0
    content: mmap.mmap | None = None

    def write(self, tensors: Tensors) -> None:
        """Makes the file one of these tensors. Raises TypeError for a type that the format does not know."""
        header, places = _layout(tensors)
        self._resize(len(header) + sum(value.nbytes for value in tensors.values()))
        assert self.content is not None
        self.content[: len(header)] = header
        for name, value in tensors.items():
            place = np.frombuffer(self.content, np.uint8, value.nbytes, len(header) + places[name])
            np.copyto(place.view(value.dtype).reshape(value.shape), value)

    def touch(self, size: int) -> None:
        """Has the memory for a state of so many bytes, with its head: the copy need not wait for it then. Without the
        interpreter's lock."""
        size += size // 256 + 2**16
        os.posix_fallocate(self.fd, 0, size)
        self._resize(size)
        assert self.content is not None
        np.frombuffer(self.content, np.uint8)[:: mmap.PAGESIZE].fill(0)

    def close(self) -> None:
        """Gives the memory back, once the agent has let go of it too."""
        if self.content is not None:
            self.content.close()
        os.close(self.fd)

    def _resize(self, size: int) -> None:
        if size == self.size:
            return
        os.ftruncate(self.fd, size)
        self.size = size
        # What is mapped stays so where it is enough: to map pages that are there takes as long as to make them.
        if self.content is None or size > len(self.content):
            if self.content is not None:
                self.content.close()
            self.content = mmap.mmap(self.fd, size)


class Buffers:
    """All of one trainer. May be given back from any thread."""

    def __init__(self, most: int = BUFFERS_MAX) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._all: dict[int, Buffer] = {}
        self._free: list[Buffer] = []
        self._extra: set[int] = set()  # in use for what cannot be left out
        self._next = 0
        self._num_prepared = 0  # that are being prepared now
        self._may_wait, self._is_waited_for = True, False

    def prepare(self, size: int) -> None:
        """Begins to make one for a state of so many bytes, where it may come to be needed, beside training."""
        with self._changed:
            if size < SMALL_BYTES or self._free or not self._may_make:
                return
            buffer = self._make()
            self._num_prepared += 1
        threading.Thread(target=self._prepare, args=(buffer, size), name="snapshot memory", daemon=True).start()

    def _prepare(self, buffer: Buffer, size: int) -> None:
        try:
            with contextlib.suppress(OSError):  # no memory: the save, if it comes, says so
                buffer.touch(size)
        finally:
            with self._changed:
                self._num_prepared -= 1
                self._free.append(buffer)
                self._changed.notify_all()

    def take(self) -> Buffer | None:
        """One that is free; None where all are in use."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._may_make or not self._num_prepared)
            if self._free:
                return self._free.pop()
            return self._make() if self._may_make else None

    def take_extra(self, waits: Callable[[], None]) -> Buffer:
        """One in any case. `waits` is called again and again while it waits for one: where the agent has very many."""
        with self._changed:
            while self._may_wait and not self._free and not self._may_have_more:
                self._is_waited_for = True
                waits()
                self._changed.wait(SAY_SECONDS)
            buffer = self._free.pop() if self._free else self._make()
            self._extra.add(buffer.number)
            return buffer

    def wait_no_longer(self) -> None:
        """This trainer ends: what it still has to tell is told at once."""
        with self._changed:
            self._may_wait = False
            self._changed.notify_all()

    def give_back(self, number: int) -> None:
        """The agent is done with it."""
        with self._changed:
            buffer = self._all[number]
            self._extra.discard(number)
            # One that is waited for is not closed: the agent holds on to the last ones, and may give back no more.
            if self._is_waited_for or self._may_have(self._num_usual, BUFFERS):
                self._free.append(buffer)
                self._is_waited_for = False
            else:
                del self._all[number]
                buffer.close()
            self._changed.notify_all()

    @property
    def _may_make(self) -> bool:
        return self._may_have(self._num_usual + 1, BUFFERS) and self._may_have_more

    @property
    def _num_usual(self) -> int:
        return len(self._all) - len(self._extra)

    @property
    def _may_have_more(self) -> bool:
        return self._may_have(len(self._all) + 1, self._most)

    def _may_have(self, number: int, most: int) -> bool:
        """Small ones in any number."""
        return number <= most or sum(buffer.size for buffer in self._all.values()) < SMALL_BYTES

    def _make(self) -> Buffer:
        buffer = Buffer(self._next, os.memfd_create("kerasjob-snapshot"))
        self._all[buffer.number] = buffer
        self._next += 1
        return buffer


def _layout(tensors: Tensors) -> tuple[bytes, dict[str, int]]:
    """The file's head, and where each tensor begins after it; aligned, since what is largest by item comes first."""
    entries, places, end = {}, {}, 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        value = tensors[name]
        if value.dtype.name not in KNOWN_DTYPES:
            raise TypeError(f"{name}: a checkpoint cannot hold tensors of type {value.dtype.name}")
        places[name], end = end, end + value.nbytes
        entries[name] = {
            "dtype": KNOWN_DTYPES[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [places[name], end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places
