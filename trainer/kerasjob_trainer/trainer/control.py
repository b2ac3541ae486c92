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

    def send(self, kind: str, **fields: Any) -> None:
        """Sends one message."""
        line = json.dumps({"type": kind, **fields}).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):
            self._agent.sendall(line)

    def listen(self, stop: Callable[[], None]) -> None:
        """Calls `stop` in a thread once the agent asks for that."""
        threading.Thread(target=self._listen, args=(stop,), name="control", daemon=True).start()

    def _listen(self, stop: Callable[[], None]) -> None:
        with self._agent.makefile("rb") as lines:
            for line in lines:
                if json.loads(line)["type"] == "stop":
                    stop()
