"""Small frozen records of what there is. Made by a body's store, read by `decide`; they hold no Kubernetes objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from kerasjob_api.names import host_port
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import KerasJobStatus
from kerasjob_api.wire import FailureRecord, WorkerReport


class PodPhase(StrEnum):
    """Phase of a worker's pod, as Kubernetes has it."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class JobRef:
    """Names one KerasJob object; the uid tells it from a later one of the same name."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Endpoint:
    """Where a worker's agent listens, and the first of its TensorFlow ports."""

    host: str
    agent_port: int
    tf_port_base: int

    @property
    def address(self) -> str:
        """Of the agent, as in a URL."""
        return host_port(self.host, self.agent_port)


@dataclass(frozen=True)
class Exit:
    """How a pod's container ended."""

    code: int
    reason: str = ""  # the kubelet's: OOMKilled, Error, …
    record: FailureRecord | None = None  # the termination message, where it is one of ours
    message: str = ""  # the termination message, where it is not


@dataclass(frozen=True)
class Waiting:
    """Why a pod does not run yet, in the kubelet's or scheduler's own words."""

    reason: str
    message: str


@dataclass(frozen=True)
class Worker:
    """One pod (or process) of a slot's incarnation. `phase` is the trainer's, where that has ended before its pod."""

    name: str
    uid: str
    slot: int
    incarnation: int
    phase: PodPhase
    ready: bool = False
    deleting: bool = False
    endpoint: Endpoint | None = None
    exit: Exit | None = None
    lingers: bool = False  # the trainer has ended, and containers beside it run on
    waiting: Waiting | None = None
    node: str = ""
    deletion_due: float | None = None  # when a pod that is deleted should be gone
    disruption: str | None = None  # reason of a DisruptionTarget condition
    report: WorkerReport | None = None
    silent_since: float | None = None  # its agent does not answer, which has before, or has said that it is ready

    @property
    def has_ended(self) -> bool:
        """The trainer is done, whatever it did."""
        return self.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)

    @property
    def has_left(self) -> bool:
        """The whole pod is done, and takes nothing of its node any more."""
        return self.has_ended and not self.lingers


@dataclass(frozen=True)
class Job:
    """One KerasJob object. `faults` are what is wrong with its spec, all at once; `spec` is then what is left without
    that, None where nothing can be left out."""

    ref: JobRef
    generation: int
    resource_version: str
    created_at: float
    spec: KerasJobSpec | None
    status: KerasJobStatus
    faults: tuple[str, ...] = ()
    deleting: bool = False


@dataclass(frozen=True)
class Observed:
    """All that `decide` may know of one job.

    `base_present`: the service, the secret, the network policy and the plan are there and ours. `rejection`: why the
    last try to create something was refused. `confirmed_absent`: names of pods that a direct read did not find.
    `seed`, `image`: what is pinned if nothing is pinned yet.
    """

    job: Job
    workers: tuple[Worker, ...] = ()
    base_present: bool = False
    rejection: Waiting | None = None
    confirmed_absent: frozenset[str] = frozenset()
    seed: int = 0
    image: str = ""

    def worker(self, slot: int, incarnation: int) -> Worker | None:
        """The pod of a slot's incarnation."""
        return self._by_name.get((slot, incarnation))

    @cached_property
    def _by_name(self) -> dict[tuple[int, int], Worker]:
        """Made once, since policies ask for every slot of a job with a thousand."""
        return {(worker.slot, worker.incarnation): worker for worker in self.workers}
