"""The port between the brain and a body (Kubernetes, local processes, simulated), and its errors.

ClusterError
├── Conflict        the object changed since we read it: look again
├── NotFound        the object is gone
├── NameTaken       a stranger's object has the name
├── Refused         the server says no for good (admission, validation): its words go to the user
├── QuotaExceeded   wait with back-off
└── Unavailable     try again; `retry_after` where the server said when
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kerasjob_api.status import KerasJobStatus
from kerasjob_core.observed import Job, JobRef, Observed
from kerasjob_core.plan import ConfirmAbsent, CreateWorker, DeleteJob, DeleteWorker, EnsureBase, Event, PushRing


class ClusterError(Exception):
    """Something that a body could not do."""


class Conflict(ClusterError):
    """The object changed since it was read."""


class NotFound(ClusterError):
    """The object is gone."""


class NameTaken(ClusterError):
    """A stranger's object has the name."""


class Refused(ClusterError):
    """The server says no for good."""


class QuotaExceeded(ClusterError):
    """A quota does not allow it now."""


class Unavailable(ClusterError):
    """Try again later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cluster(Protocol):
    """What a body can do. After each call `observe` already shows the answer."""

    def observe(self, namespace: str, name: str) -> Observed | None:
        """What is known of a job; None where there is no such job. Reads memory only."""

    async def write_status(self, job: Job, status: KerasJobStatus) -> None:
        """Replaces the status if the job is still at `job.resource_version`. Raises Conflict, NotFound, Unavailable."""

    async def emit(self, job: JobRef, event: Event) -> None:
        """Shows an event to the user. Never raises: an event is not worth a retry."""

    async def ensure_base(self, job: Job, action: EnsureBase) -> None:
        """Makes what pods need. Raises NameTaken, Refused, QuotaExceeded, Unavailable."""

    async def create_worker(self, job: Job, action: CreateWorker) -> None:
        """Makes a pod, or finds that it is there. Raises NameTaken, Refused, QuotaExceeded, Unavailable."""

    async def delete_worker(self, job: Job, action: DeleteWorker) -> None:
        """Deletes a pod. That it is gone already is no error."""

    async def delete_job(self, job: Job, action: DeleteJob) -> None:
        """Deletes the KerasJob, and what belongs to it in the background. That it is gone already is no error."""

    async def confirm_absent(self, job: Job, action: ConfirmAbsent) -> None:
        """Reads the pod directly; if it is there the store has it afterwards, else the absence is confirmed."""

    async def push_rings(self, job: Job, actions: Sequence[PushRing]) -> None:
        """Gives the ring to agents and keeps their reports. Raises Unavailable once all were tried: one that does not
        answer keeps the ring from nobody else."""
