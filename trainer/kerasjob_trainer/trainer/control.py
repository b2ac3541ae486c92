"""The trainer's word to its agent: JSON lines over a socket. Used by `main` and the session; heard by `hearing`.

Never raises and never blocks training for long: an agent that is gone takes the trainer with it anyway.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
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
