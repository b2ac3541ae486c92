"""The agent's end of the socket to a trainer, one JSON object a line. The trainer's end is `trainer/control.py`.

Made by the supervisor for each trainer; what is heard is for `hearing`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_AT_ONCE_BYTES = 64 * 1024
_FILES_AT_ONCE = 16


class TrainerControl:
    """`hear` is called in a thread with each message, until the trainer has gone; `file` of one that came with an open
    file is its number, which whoever hears it must close."""

    def __init__(self, control: socket.socket, hear: Callable[[dict[str, Any]], None]) -> None:
        self._control, self._hear = control, hear
        self._files: deque[int] = deque()
        self._thread = threading.Thread(target=self._read, name="trainer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Asks the trainer to save at the next step boundary and to end."""
        self._send({"type": "stop"})

    def say_peer_lost(self) -> None:
        """Has the trainer wait for the others no longer."""
        self._send({"type": "peerLost"})

    def release(self, buffer: int) -> None:
        """Says that a snapshot is not needed any more."""
        self._send({"type": "released", "buffer": buffer})

    def join(self, timeout_seconds: float) -> None:
        """Waits until all that a trainer said before its end is heard."""
        self._thread.join(timeout_seconds)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has gone
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> None:
        with self._control:
            for line in self._lines():
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # the last line of a trainer that was killed
                if message["hasFile"]:
                    message["file"] = self._files.popleft()
                self._hear(message)
        for file in self._files:
            os.close(file)

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        while True:
            try:
                data, files, _, _ = socket.recv_fds(self._control, _AT_ONCE_BYTES, _FILES_AT_ONCE)
            except OSError:
                data, files = b"", []
            self._files.extend(files)
            if not data:
                if rest:
                    yield rest
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
