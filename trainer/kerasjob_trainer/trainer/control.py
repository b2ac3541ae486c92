"""The trainer's word to its agent and the agent's to it: JSON lines over a socket. Used by `main` and the session; the
agent's side is `hearing`.

Never raises and never blocks training for long: an agent that is gone takes the trainer with it anyway.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any


class Control:
    """Sends messages, from any thread."""

    def __init__(self, agent: socket.socket) -> None:
        self._agent = agent
        self._lock = threading.Lock()

    def send(self, kind: str, fd: int | None = None, **fields: Any) -> None:
        """Sends one message, and an open file where it says so."""
        line = json.dumps({"type": kind, "hasFile": fd is not None, **fields}).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            if fd is not None:
                line = line[socket.send_fds(self._agent, [line], [fd]) :]
            self._agent.sendall(line)

    def listen(self, heard: dict[str, Callable[[dict[str, Any]], None]]) -> None:
        """In a thread, calls what is given for each type of message."""
        threading.Thread(target=self._listen, args=(heard,), name="control", daemon=True).start()

    def _listen(self, heard: dict[str, Callable[[dict[str, Any]], None]]) -> None:
        with self._agent.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if message["type"] in heard:
                    heard[message["type"]](message)
