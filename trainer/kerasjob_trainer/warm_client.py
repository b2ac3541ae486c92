"""The agent's side of the warm process. Called by `supervisor` on the main loop; its answers are posted there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from kerasjob_trainer.mainloop import Loop
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.warm import PACKET_MAX_BYTES


def environment(settings: Settings) -> dict[str, str]:
    """What must be set before TensorFlow is imported; the user's own settings win where they are only taste."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(settings.keras_home),
        # Sets of strings have one order on all workers and in every trainer.
        "PYTHONHASHSEED": str(settings.config.seed % 2**32),
    }


class Process(Protocol):
    """What is needed of the warm process."""

    pid: int

    def wait(self) -> int: ...


def start(settings: Settings, theirs: socket.socket) -> Process:
    """Starts the warm process with its end of the socket."""
    return subprocess.Popen(
        # -P: nothing in the working directory may take the place of a module before the fork
        [sys.executable, "-P", "-m", "kerasjob_trainer.warm", str(theirs.fileno()), str(os.getpid())],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )


class Warm:
    """A running warm process. `on_message` is called on the loop with each packet; `event: gone` is its end."""

    def __init__(self, settings: Settings, loop: Loop, on_message: Callable[[dict[str, Any]], None]) -> None:
        """Starts it. Call from the main thread: for Linux the parent is the thread that forked."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings.keras_home.mkdir(parents=True, exist_ok=True)
        self._socket = ours
        self._process = start(settings, theirs)
        theirs.close()
        threading.Thread(target=self._read, args=(loop, on_message), name="warm", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, spec: str, revision: int, control: socket.socket) -> None:
        """Asks for a trainer; `event: forked` follows."""
        request = json.dumps({"do": "fork", "spec": spec, "revision": revision}).encode()
        socket.send_fds(self._socket, [request], [control.fileno()])

    def kill(self, pid: int, number: int) -> None:
        """Has a trainer sent a signal. By its parent: so the pid cannot be somebody else's by now."""
        self._socket.send(json.dumps({"do": "kill", "pid": pid, "signal": number}).encode())

    def _read(self, loop: Loop, on_message: Callable[[dict[str, Any]], None]) -> None:
        while True:
            try:
                data = self._socket.recv(PACKET_MAX_BYTES)
            except OSError:
                data = b""
            if not data:
                code = self._process.wait()
                loop.post(on_message, {"event": "gone", "message": f"the warm process ended with code {code}"})
                return
            loop.post(on_message, json.loads(data))
