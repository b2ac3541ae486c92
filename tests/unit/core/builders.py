"""Fluent builders of what `decide` reads. Each method answers a new builder, so that a case reads as a sentence:

a_job(2).running().worker(1, ended=137)
"""

from dataclasses import dataclass, field, replace

from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_failure import FailurePolicy
from kerasjob_api.spec_program import Program
from kerasjob_api.status import KerasJobStatus, RingMember, RingStatus, SlotStatus
from kerasjob_api.wire import CheckpointRef, FailureRecord, Metric, Progress, TrainerExit, WorkerReport
from kerasjob_core.decide import decide
from kerasjob_core.observed import Endpoint, Exit, Job, JobRef, Observed, PodPhase, Waiting, Worker
from kerasjob_core.plan import Plan

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
REF = JobRef("default", "mnist", "uid-1")


def a_worker(slot, incarnation=0, **changes):
    """A worker that is ready and waits for a ring."""
    worker = Worker(
        name=f"mnist-{slot}-{incarnation}",
        uid=f"pod-{slot}-{incarnation}",
        slot=slot,
        incarnation=incarnation,
        phase=PodPhase.RUNNING,
        ready=True,
        endpoint=Endpoint(f"10.0.0.{slot + 1}", 8470, 8480),
        node=f"node-{slot}",
    )
    return replace(worker, **changes)


def a_report(worker, revision, state="training", **fields):
    """What a worker's agent says."""
    return WorkerReport(worker.slot, worker.incarnation, revision, state, **fields)


def progress(step=3, **fields):
    """The leader's progress."""
    return Progress(call=0, epoch=1, epochs=2, step=step, steps=10, metrics=(Metric("loss", "0.5"),), **fields)


@dataclass(frozen=True)
class JobBuilder:
    """A job and what is seen of it."""

    spec: KerasJobSpec | None
    status: KerasJobStatus = field(default_factory=KerasJobStatus)
    workers: tuple[Worker, ...] = ()
    extra: dict = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    # What the job was before.

    def accepted(self):
        """It was pinned in an earlier pass, and what pods need is there."""
        pinned = decide(self.seen(), NOW).status
        return replace(self, status=pinned, extra=self.extra | {"base_present": True})

    def ready(self):
        """Every worker waits for a ring."""
        return replace(self.accepted(), workers=tuple(a_worker(slot) for slot in range(self.spec.workers)))

    def ringed(self):
        """A ring was granted, nobody has it yet."""
        job = self.ready()
        return job.with_status(decide(job.seen(), NOW).status)

    def running(self):
        """The ring trains."""
        job = self.ringed()
        workers = tuple(replace(w, report=a_report(w, 1)) for w in job.workers)
        job = replace(job, workers=workers)
        return job.with_status(decide(job.seen(), NOW).status)

    def with_status(self, status):
        return replace(self, status=status)

    def restarts(self, n):
        return self.with_status(self.status.model_copy(update={"restarts": n}))

    def with_spec(self, **changes):
        """The user changed the spec."""
        generation = self.extra.get("generation", 1) + 1
        return replace(self, spec=self.spec.model_copy(update=changes), extra=self.extra | {"generation": generation})

    def with_faults(self, *faults):
        """The user changed the spec, and something is wrong in it."""
        return replace(self.with_spec(), faults=faults)

    # What is seen now.

    def with_workers(self, *workers):
        return replace(self, workers=workers)

    def worker(self, slot, **changes):
        """Something else is seen of a slot's current worker."""
        return replace(self, workers=tuple(replace(w, **changes) if w.slot == slot else w for w in self.workers))

    def ended(self, slot, code, record=None, reason="", **changes):
        phase = PodPhase.SUCCEEDED if code == 0 else PodPhase.FAILED
        return self.worker(slot, phase=phase, ready=False, exit=Exit(code, reason, record), **changes)

    def without(self, slot):
        return replace(self, workers=tuple(w for w in self.workers if w.slot != slot))

    def reports(self, slot, state, revision=1, **fields):
        worker = next(w for w in self.workers if w.slot == slot)
        return self.worker(slot, report=a_report(worker, revision, state, **fields))

    def lost(self, slot, code=None, signal=None, message=""):
        return self.reports(slot, "lost", trainer_exit=TrainerExit(1, code, signal, "", message))

    def but(self, **extra):
        """Something else of `Observed`."""
        return replace(self, extra=self.extra | extra)

    def seen(self):
        extra = dict(self.extra)
        generation, deleting = extra.pop("generation", 1), extra.pop("deleting", False)
        job = Job(REF, generation, "1", NOW, self.spec, self.status, self.faults, deleting)
        return Observed(job, self.workers, seed=7, image="default:1", **extra)

    def decide(self, later=0.0) -> Plan:
        return decide(self.seen(), NOW + later)

    def next(self, later=0.0):
        """The job after a pass, nothing else having changed."""
        plan = self.decide(later)
        return self if plan.status is None else self.with_status(plan.status)


def a_job(workers=1, max_restarts=3, **spec):
    """A job nobody has looked at."""
    policy = FailurePolicy(max_restarts=max_restarts)
    return JobBuilder(KerasJobSpec(workers=workers, program=Program(script="train.py"), failure_policy=policy, **spec))


__all__ = [
    "NOW",
    "CheckpointRef",
    "FailureRecord",
    "RingMember",
    "RingStatus",
    "SlotStatus",
    "Waiting",
    "a_job",
    "progress",
]
