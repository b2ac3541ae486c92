"""Real agents as processes on 127.0.0.1, and a test that plays the operator through their HTTP protocol."""

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "test-token"
HOST = "127.0.0.1"
DEADLINE_SECONDS = 120.0


def free_ports(number: int) -> list[int]:
    """Below the ports that Linux gives to outgoing connections, so that nothing takes them between look and use."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(20_000, 32_000)
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def eventually(check, what: str, seconds: float = DEADLINE_SECONDS):
    """An agent is asked, it does not tell: asks again until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        threading.Event().wait(0.03)


@dataclass
class Worker:
    """One agent process, as a pod would be."""

    slot: int
    incarnation: int
    port: int
    folder: Path
    process: subprocess.Popen
    host: str = HOST

    def ask(self, method: str, path: str, body=None, token: str | None = TOKEN) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=10)) as connection:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()

    def report(self) -> dict:
        try:
            status, body = self.ask("GET", "/v1/status")
        except (OSError, http.client.HTTPException):
            return {}
        return json.loads(body) if status == 200 else {}

    def wait_for(self, check, what: str, seconds: float = DEADLINE_SECONDS) -> dict:
        """The first report for which the check holds; fails at once where the agent has ended."""

        def once():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"{what}: agent {self.slot} has ended with {self.process.returncode}\n{self.log()}"
                )
            report = self.report()
            return report if report and check(report) else None

        try:
            return eventually(once, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast report: {self.report()}\n{self.log()}") from None

    def wait_for_state(self, *states: str) -> dict:
        return self.wait_for(lambda r: r["state"] in states, f"state {states}")

    def wait_for_end(self, seconds: float = DEADLINE_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"agent {self.slot} does not end\n{self.report()}\n{self.log()}") from None

    def record(self) -> dict:
        """The termination message."""
        return json.loads((self.folder / "termination-log").read_text())

    def log(self) -> str:
        return (self.folder / "log").read_text()[-6000:]

    def trainer_pids(self) -> list[int]:
        """What the warm process has forked: one process, or none."""
        forked = self.folder / "warm.pid"
        warm = [int(forked.read_text())] if forked.exists() else children(self.process.pid)
        return [pid for parent in warm for pid in children(parent)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Gates:
    """Places where `programs/two_fits.py` waits."""

    def __init__(self, folder: Path, *names: str) -> None:
        folder.mkdir()
        self.folder = folder
        for name in names:
            (folder / name).touch()

    def wait_for(self, name: str, job: "Job") -> None:
        """Until the trainers of all workers wait at the gate."""
        for worker in job.live.values():
            worker.wait_for(lambda _, w=worker: self._is_at(name, w), f"worker {worker.slot} at gate {name}")

    def _is_at(self, name: str, worker: "Worker") -> bool:
        return any((self.folder / f"{name}.reached-{pid}").exists() for pid in worker.trainer_pids())

    def open(self, name: str) -> None:
        (self.folder / name).unlink()


def children(parent: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except FileNotFoundError:
        return []


# For a program in text: `callbacks=[Gate()]` waits before an epoch while the file `epoch-N` is in the folder that the
# first argument names, as `Gates` has it.
EPOCH_GATE = """
import os, sys, time
from pathlib import Path
import keras

class Gate(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        gate = Path(sys.argv[1], f"epoch-{epoch}")
        if gate.exists():
            Path(f"{gate}.reached-{os.getpid()}").touch()
        while gate.exists():
            time.sleep(0.01)
"""


@dataclass
class Job:
    """One job: its configuration, its store, its workers."""

    folder: Path
    program: dict
    workers: int = 2
    uid: str = "uid-1"
    seed: int = 7
    config: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    code: Path | None = None
    agent: tuple[str, ...] = ("-m", "kerasjob_trainer.agent")
    # Where a worker lives: its address, and what its command begins with.
    place: Callable[[int, int], tuple[str, list[str]]] = lambda slot, incarnation: (HOST, [])
    revision: int = 0
    live: dict[int, Worker] = field(default_factory=dict)
    started: list[Worker] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store" / self.uid

    def worker_json(self) -> dict:
        return {
            "namespace": "default",
            "name": "job",
            "uid": self.uid,
            "workers": self.workers,
            "seed": self.seed,
            "program": self.program,
            "checkpoint": {"uri": str(self.folder / "store"), "keep": {"last": 3}, "everyEpochs": 1},
            "stallTimeoutSeconds": 60,
            **self.config,
        }

    def start(self, slot: int, incarnation: int = 0) -> Worker:
        """Starts an agent."""
        folder = self.folder / f"worker-{slot}-{incarnation}"
        folder.mkdir(parents=True)
        (folder / "worker.json").write_text(json.dumps(self.worker_json()))
        (folder / "token").write_text(TOKEN)
        (port,) = free_ports(1)
        host, before = self.place(slot, incarnation)
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*before, sys.executable, *self.agent],
                cwd=folder,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "CUDA_VISIBLE_DEVICES": "-1",
                    "KERASJOB_CONFIG": str(folder / "worker.json"),
                    "KERASJOB_SLOT": str(slot),
                    "KERASJOB_INCARNATION": str(incarnation),
                    "KERASJOB_AGENT_HOST": host,
                    "KERASJOB_AGENT_PORT": str(port),
                    "KERASJOB_WORK_DIR": str(folder / "work"),
                    "KERASJOB_TOKEN_FILE": str(folder / "token"),
                    "KERASJOB_TERMINATION_LOG": str(folder / "termination-log"),
                    "KERASJOB_CODE_DIR": str(self.code or folder / "no-code"),
                    "KERASJOB_S3_DIR": str(self.folder / "s3-keys"),
                    **self.env,
                },
            )
        worker = Worker(slot, incarnation, port, folder, process, host)
        self.live[slot] = worker
        self.started.append(worker)
        return worker

    def start_all(self) -> list[Worker]:
        return [self.start(slot) for slot in range(self.workers)]

    def form(self, *, after_step: bool = False) -> int:
        """Grants and pushes the next ring, as the operator does."""
        members = list(self.live.values())
        for worker in members:
            worker.wait_for(lambda r: r["state"] != "staging", "ready")
        self.revision += 1
        ports = free_ports(len(members))
        ring = {
            "protocol": 1,
            "job": self.uid,
            "revision": self.revision,
            "afterStep": after_step,
            "members": [
                {"slot": w.slot, "incarnation": w.incarnation, "host": w.host, "agentPort": w.port, "port": port}
                for w, port in zip(members, ports, strict=True)
            ],
        }
        for worker in members:
            status, body = worker.ask("PUT", "/v1/ring", ring)
            assert status == 200, body
            assert json.loads(body)["revision"] == self.revision
        return self.revision

    def finish(self) -> dict:
        """Waits until all agents have ended with 0; the record of the run."""
        for worker in self.live.values():
            code = worker.wait_for_end()
            assert code == 0, f"worker {worker.slot}: {code}\n{worker.log()}"
        return json.loads((self.store / "done.json").read_text())

    def close(self) -> None:
        for worker in self.started:
            worker.kill()


def histories(done: dict) -> list[dict]:
    return [call["history"] for call in done["histories"]]
