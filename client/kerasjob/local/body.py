"""The local body: the port `Cluster` with processes for pods and a directory for the API server.

Driven by `runner`, one job each. Decides nothing: what to start, replace or give up is the brain's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kerasjob.local.agent_http import AgentClient
from kerasjob.local.process import AGENT_COMMAND, HOST, WorkerProcess, free_endpoint
from kerasjob.local.state import JobDir, StoredJob
from kerasjob.local.uris import UriMap, localized
from kerasjob_api.codec import to_wire
from kerasjob_api.constants import Reason
from kerasjob_api.names import pod_name
from kerasjob_api.status import KerasJobStatus
from kerasjob_api.wire import WorkerConfig, WorkerReport
from kerasjob_core.cluster import Conflict, NotFound, Refused, Unavailable
from kerasjob_core.observed import Endpoint, Exit, Job, JobRef, Observed, PodPhase, Waiting, Worker
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteJob, DeleteWorker, EnsureBase, Event, PushRing
from kerasjob_core.worker_config import worker_config

# Whoever runs a job here wants it to run, alone, to its end; what it was stays to be looked at.
WITHOUT_CLUSTER = {
    "suspend": False,
    "managed_by": None,
    "ttl_seconds_after_finished": None,
    "clean_pod_policy": "Running",
}


@dataclass
class _Entry:
    """What is known of one worker."""

    name: str
    slot: int
    incarnation: int
    endpoint: Endpoint
    process: WorkerProcess
    ready: bool = False
    report: WorkerReport | None = None
    kill_at: float | None = None  # set once it was told to stop for good
    exit: Exit | None = None

    @property
    def uid(self) -> str:
        return f"{self.name}/{self.process.popen.pid}"

    def observed(self) -> Worker:
        """The record that the brain reads."""
        phase = PodPhase.RUNNING
        if self.exit is not None:
            phase = PodPhase.SUCCEEDED if self.exit.code == 0 else PodPhase.FAILED
        return Worker(
            name=self.name,
            uid=self.uid,
            slot=self.slot,
            incarnation=self.incarnation,
            phase=phase,
            ready=self.ready and self.exit is None,
            deleting=self.kill_at is not None,
            endpoint=self.endpoint,
            exit=self.exit,
            report=self.report,
        )


class LocalCluster:
    """One job's processes.

    on_event, on_output: where events and the workers' standard output are shown.
    """

    def __init__(
        self,
        stored: StoredJob,
        directory: JobDir,
        uris: UriMap,
        *,
        command: Sequence[str] = AGENT_COMMAND,
        on_event: Callable[[Event], None] = lambda _event: None,
        on_output: Callable[[int, bytes], None] = lambda _slot, _chunk: None,
    ) -> None:
        self.stored = stored
        self.directory = directory
        self.uris = uris
        self._command = tuple(command)
        self._on_event = on_event
        self._on_output = on_output
        self._client = AgentClient(secrets.token_hex(32))
        self._config: WorkerConfig | None = None
        self._entries: dict[str, _Entry] = {}
        self._confirmed_absent: frozenset[str] = frozenset()
        self._rejection: Waiting | None = None
        self._ports: set[int] = set()
        self._seed = secrets.randbelow(2**31)

    @property
    def job(self) -> Job:
        """The KerasJob object."""
        stored = self.stored
        return Job(
            ref=JobRef(stored.namespace, stored.name, stored.uid),
            generation=1,
            resource_version=str(stored.version),
            created_at=stored.created_at,
            spec=stored.spec.model_copy(update=WITHOUT_CLUSTER),
            status=stored.status,
        )

    # The port.

    def observe(self, namespace: str, name: str) -> Observed | None:
        """See `kerasjob_core.cluster.Cluster`; so are the methods below."""
        if (namespace, name) != (self.stored.namespace, self.stored.name):
            return None
        return Observed(
            job=self.job,
            workers=tuple(entry.observed() for entry in self._entries.values()),
            base_present=self._config is not None,
            rejection=self._rejection,
            confirmed_absent=self._confirmed_absent,
            seed=self._seed,
            image="local",
        )

    async def write_status(self, job: Job, status: KerasJobStatus) -> None:
        if job.ref.uid != self.stored.uid:
            raise NotFound(f"job {job.ref.name} with uid {job.ref.uid}")
        if job.resource_version != str(self.stored.version):
            raise Conflict(f"job {job.ref.name} is at {self.stored.version}, not {job.resource_version}")
        self.stored = dataclasses.replace(self.stored, status=status, version=self.stored.version + 1)
        self.directory.write(self.stored)

    async def emit(self, job: JobRef, event: Event) -> None:
        self._on_event(event)

    async def ensure_base(self, job: Job, action: EnsureBase) -> None:
        assert job.spec is not None
        token = self.directory.path / "token"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.unlink(missing_ok=True)
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(self._client.token)
        self._config = worker_config(job.ref, job.spec, action.seed)

    async def create_worker(self, job: Job, action: CreateWorker) -> None:
        name = pod_name(job.ref.name, action.slot, action.incarnation)
        if name in self._entries:
            return
        if self._config is None:
            raise Unavailable("the base is not there yet")
        try:
            self._entries[name] = self._start(job, name, action, self._config)
        except OSError as error:
            self._rejection = Waiting(Reason.REJECTED, f"worker {action.slot} cannot be started: {error}")
            raise Refused(self._rejection.message) from error
        self._rejection = None
        self._confirmed_absent -= {name}

    async def delete_worker(self, job: Job, action: DeleteWorker) -> None:
        entry = self._entries.get(action.name)
        if entry is None or entry.uid != action.uid or entry.kill_at is not None:
            return
        assert job.spec is not None
        self._stop(entry, job.spec.termination_grace_period_seconds)

    async def delete_job(self, job: Job, action: DeleteJob) -> None:
        raise AssertionError("no job goes by itself here")

    async def confirm_absent(self, job: Job, action: ConfirmAbsent) -> None:
        if action.name not in self._entries and action.name not in self._confirmed_absent:
            self._confirmed_absent |= {action.name}

    async def push_rings(self, job: Job, actions: Sequence[PushRing]) -> None:
        answers = await asyncio.gather(*(self._push(action) for action in actions), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer

    async def _push(self, action: PushRing) -> None:
        self._keep(action.worker, await asyncio.to_thread(self._client.push_ring, action.endpoint, action.ring))

    # What a kubelet and a poller do.

    async def poll(self) -> None:
        """Looks at every worker once: has it ended, is it ready, what does it say."""
        for entry in list(self._entries.values()):
            if entry.exit is None:
                self._reap(entry)
        await asyncio.gather(*(self._ask(entry) for entry in self._entries.values() if entry.exit is None))

    @property
    def live(self) -> int:
        """How many processes there are."""
        return sum(entry.exit is None for entry in self._entries.values())

    def stop_all(self, grace_seconds: float) -> None:
        """Asks all workers to save and stop; those that have not after the grace period are killed by `poll`."""
        for entry in self._entries.values():
            if entry.exit is None:
                self._stop(entry, grace_seconds)

    def close(self) -> None:
        """Ends whatever still runs, at once."""
        for entry in self._entries.values():
            if entry.exit is None:
                entry.process.close()

    def report(self, slot: int) -> WorkerReport | None:
        """The last word of a slot's current worker."""
        name = pod_name(self.stored.name, slot, self.stored.status.incarnation_of(slot))
        entry = self._entries.get(name)
        return entry.report if entry is not None else None

    def _start(self, job: Job, name: str, action: CreateWorker, config: WorkerConfig) -> _Entry:
        slot, incarnation = action.slot, action.incarnation
        directory = self.directory.worker_dir(slot, incarnation)
        shutil.rmtree(directory, ignore_errors=True)  # as a pod's own directory: empty at its start
        work = directory / "work"
        work.mkdir(parents=True)
        endpoint = free_endpoint(self._ports)
        local = localized(config, self.uris, directory, endpoint.agent_port)
        (directory / "worker.json").write_text(json.dumps(to_wire(local), indent=1))
        spec = job.spec
        assert spec is not None
        given = {str(e["name"]): str(e["value"]) for e in spec.env if "name" in e and "value" in e}
        environment = os.environ | given | {
            "KERASJOB_CONFIG": str(directory / "worker.json"),
            "KERASJOB_SLOT": str(slot),
            "KERASJOB_INCARNATION": str(incarnation),
            "KERASJOB_POD_IP": HOST,
            "KERASJOB_AGENT_HOST": HOST,
            "KERASJOB_AGENT_PORT": str(endpoint.agent_port),
            "KERASJOB_WORK_DIR": str(work),
            "KERASJOB_TOKEN_FILE": str(self.directory.path / "token"),
            "KERASJOB_TERMINATION_LOG": str(directory / "termination-log"),
            "KERASJOB_CODE_DIR": str(self.directory.code),
        }  # fmt: skip
        log = self.directory.log(slot, incarnation)
        process = WorkerProcess.start(self._command, environment, work, log, lambda chunk: self._on_output(slot, chunk))
        return _Entry(name, slot, incarnation, endpoint, process)

    def _stop(self, entry: _Entry, grace_seconds: float) -> None:
        entry.kill_at = min(entry.kill_at or sys.float_info.max, time.monotonic() + grace_seconds)
        entry.process.terminate()

    def _reap(self, entry: _Entry) -> None:
        exit_ = entry.process.exit()
        if exit_ is None:
            if entry.kill_at is not None and time.monotonic() >= entry.kill_at:
                entry.process.kill()
            return
        entry.exit = exit_
        entry.process.close()
        self._ports.difference_update(range(entry.endpoint.agent_port, entry.endpoint.agent_port + 17))

    async def _ask(self, entry: _Entry) -> None:
        try:
            if not entry.ready and await asyncio.to_thread(self._client.is_ready, entry.endpoint):
                entry.ready = True
            self._keep(entry.name, await asyncio.to_thread(self._client.report, entry.endpoint))
        except Unavailable:
            return  # not up yet, or just gone: the process says which

    def _keep(self, name: str, report: WorkerReport) -> None:
        entry = self._entries.get(name)
        if entry is None or (report.slot, report.incarnation) != (entry.slot, entry.incarnation):
            return
        # Answers may overtake each other: a later revision stands.
        if entry.report is not None and report.revision < entry.report.revision:
            return
        if report != entry.report:
            entry.report = report
