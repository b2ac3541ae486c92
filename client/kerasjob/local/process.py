"""One worker as a process: its environment, its log, its ports, its end. Used by the local body alone."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasjob_api.constants import TERMINATION_MESSAGE_MAX_BYTES, TF_PORT_SPAN
from kerasjob_api.wire import FailureRecord
from kerasjob_core.observed import Endpoint, Exit

AGENT_COMMAND = (sys.executable, "-m", "kerasjob_trainer.agent")
LEASH = Path(__file__).parent / "leash.py"
HOST = "127.0.0.1"
# Below the ports that Linux gives to outgoing connections (32768 and up): nothing takes them between look and use.
PORT_RANGE = range(20_000, 32_000 - TF_PORT_SPAN)
LOG_TAIL_BYTES = 2000


def free_endpoint(taken: set[int]) -> Endpoint:
    """An agent's port and, behind it, `TF_PORT_SPAN` ports for TensorFlow. Adds them to `taken`."""
    for _ in range(1000):
        base = random.choice(PORT_RANGE)
        ports = range(base, base + TF_PORT_SPAN + 1)
        if taken.isdisjoint(ports) and all(_is_free(port) for port in ports):
            taken.update(ports)
            return Endpoint(HOST, base, base + 1)
    raise OSError(f"no {TF_PORT_SPAN + 1} free ports in a row between {PORT_RANGE.start} and {PORT_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@dataclass
class WorkerProcess:
    """A started agent. It leads a session of its own, so that Ctrl-C reaches it only through us."""

    popen: subprocess.Popen[bytes]
    log: Path
    termination_log: Path
    output: threading.Thread

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        work_dir: Path,
        log: Path,
        show: Callable[[bytes], None] | None,
    ) -> WorkerProcess:
        """Starts the agent. Must be called from the main thread: it ends with the thread that forked it (see leash)."""
        termination_log = Path(environment["KERASJOB_TERMINATION_LOG"])
        termination_log.unlink(missing_ok=True)
        with log.open("ab") as file:
            popen = subprocess.Popen(
                [sys.executable, "-I", str(LEASH), str(os.getpid()), *command],
                cwd=work_dir,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        assert popen.stdout is not None
        output = threading.Thread(target=_relay, args=(popen.stdout.fileno(), log, show), daemon=True)
        output.start()
        return cls(popen, log, termination_log, output)

    def exit(self) -> Exit | None:
        """How the process ended; None while it runs."""
        code = self.popen.poll()
        if code is None:
            return None
        text = ""
        with contextlib.suppress(OSError):
            text = self.termination_log.read_bytes()[:TERMINATION_MESSAGE_MAX_BYTES].decode(errors="replace")
        record = FailureRecord.from_message(text)
        message = "" if record is not None else text.strip()
        if record is None and not message and code > 0:
            message = self._last_words()
        return Exit(code if code >= 0 else 128 - code, record=record, message=message)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return ""

    def terminate(self) -> None:
        """Asks the agent to save and stop."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.terminate()

    def kill(self) -> None:
        """Ends the agent and all that it started in its session, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """After the end: no child is left, all output is in the log."""
        self.kill()
        self.popen.wait()
        self.output.join(timeout=2)
        # Only a grandchild that fled the session can still hold the pipe; the relay then ends with this process.
        if not self.output.is_alive() and self.popen.stdout is not None:
            self.popen.stdout.close()


def _relay(source: int, log: Path, show: Callable[[bytes], None] | None) -> None:
    with log.open("ab", buffering=0) as file:
        while chunk := os.read(source, 65536):
            file.write(chunk)
            if show is not None:
                show(chunk)
