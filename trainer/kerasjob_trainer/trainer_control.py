"""The agent's end of the socket to a trainer, one JSON object a line. The trainer's end is `trainer/control.py`.

Made by the supervisor for each trainer; what is heard is for `hearing`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any


class TrainerControl:
    """`hear` is called in a thread with each message, until the trainer has gone."""

    def __init__(self, control: socket.socket, hear: Callable[[dict[str, Any]], None]) -> None:
        self._control, self._hear = control, hear
        self._thread = threading.Thread(target=self._read, name="trainer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Asks the trainer to save at the next step boundary and to end."""
        with contextlib.suppress(OSError):
            self._control.sendall(b'{"type": "stop"}\n')

    def join(self, timeout_seconds: float) -> None:
        """Waits until all that a trainer said before its end is heard."""
        self._thread.join(timeout_seconds)

    def _read(self) -> None:
        with self._control, self._control.makefile("rb") as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    continue  # the last line of a trainer that was killed
                self._hear(message)
