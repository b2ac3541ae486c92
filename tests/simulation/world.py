"""A little world with one KerasJob in it: API server, kubelets, agents and a program that counts steps.

It is the truth; what an operator knows of it is `body.SimulatedCluster`'s. Time is a number, nothing is random.
"""

from dataclasses import dataclass, field

from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import KerasJobStatus
from kerasjob_api.wire import FailureRecord, Progress, Ring, TrainerExit, WorkerReport
from kerasjob_core.conditions import is_finished
from kerasjob_core.observed import Endpoint, Exit, PodPhase, Worker

JOB = "sim"


@dataclass
class Pod:
    """A pod and the agent in it."""

    uid: str
    job_uid: str
    name: str
    slot: int
    incarnation: int
    phase: PodPhase = PodPhase.PENDING
    ready: bool = False
    deleting: bool = False
    deletion_due: float | None = None
    cut_at: float | None = None  # since when its node reaches nobody
    disruption: str | None = None
    exit: Exit | None = None
    ring: Ring | None = None
    next_ring: Ring | None = None  # that it has been given and will not come to
    state: str = "ready"
    trainer_exit: TrainerExit | None = None
    step: int = 0

    @property
    def lives(self):
        return self.phase in (PodPhase.PENDING, PodPhase.RUNNING)

    @property
    def revision(self):
        return self.ring.revision if self.ring is not None else 0

    @property
    def is_leader(self):
        return self.ring is not None and self.ring.rank_of(self.slot, self.incarnation) == 0

    @property
    def is_cut(self):
        return self.cut_at is not None

    def delete(self, now):
        if not self.deleting:
            self.deleting, self.deletion_due = True, now + 120

    def end(self, code, **words):
        self.phase = PodPhase.SUCCEEDED if code == 0 else PodPhase.FAILED
        self.ready = False
        self.exit = Exit(code, **words)

    def report(self):
        progress = Progress(0, 1, 1, self.step) if self.state in ("training", "finished") else None
        revision, state = self.revision, self.state
        if self.next_ring is not None:
            revision, state = self.next_ring.revision, "forming"
        return WorkerReport(self.slot, self.incarnation, revision, state, None, self.trainer_exit, progress)

    def observed(self, report):
        return Worker(
            name=self.name,
            uid=self.uid,
            slot=self.slot,
            incarnation=self.incarnation,
            phase=self.phase,
            ready=self.ready,
            deleting=self.deleting,
            deletion_due=self.deletion_due,
            endpoint=Endpoint("10.0.0.1", 8470, 8480) if self.phase is not PodPhase.PENDING else None,
            exit=self.exit,
            disruption=self.disruption,
            report=report,
        )


@dataclass
class World:
    """The truth."""

    program_steps: int
    spec: KerasJobSpec
    uid: str = "uid-1"
    exists: bool = True
    version: int = 1
    generation: int = 1
    ended_at: float | None = None
    status: KerasJobStatus = field(default_factory=KerasJobStatus)
    pods: dict[str, Pod] = field(default_factory=dict)
    base: bool = False
    saved_step: int = 0
    is_done: bool = False
    now: float = 1_000_000.0
    num_pods_made: int = 0
    # Slots and incarnations of which a loss has been counted since the ring was granted.
    tried: set[tuple[int, int]] = field(default_factory=set)

    def make_again(self):
        """The user makes a job of the same name; pods of the old one may still be there."""
        self.uid, self.version, self.exists = f"uid-{self.version + 1}", self.version + 1, True
        self.status = KerasJobStatus()
        self.generation, self.ended_at = 1, None
        self.base = self.is_done = False
        self.saved_step = 0
        self.tried = set()

    def change(self, **fields):
        """The user changes the spec."""
        self.spec = self.spec.model_copy(update=fields)
        self.version += 1
        self.generation += 1

    def remove(self):
        """The job is deleted; the garbage collector takes its pods, a moment later."""
        self.exists = self.base = False

    def live(self):
        return [pod for pod in self.pods.values() if pod.lives]

    def tick(self):
        """A moment passes: kubelets start and end pods, agents and trainers move on."""
        self.now += 1
        for pod in list(self.pods.values()):
            if pod.job_uid != self.uid or not self.exists or (pod.deleting and not pod.lives):
                del self.pods[pod.name]
            elif pod.is_cut:  # no kubelet does anything with it, and after a while Kubernetes gives it up
                if self.now > pod.cut_at + 100 and not pod.deleting:
                    pod.delete(self.now)
            elif pod.deleting:
                pod.end(30, record=FailureRecord("Preempted"))  # gone a moment later
            elif pod.phase is PodPhase.PENDING:
                pod.phase = PodPhase.RUNNING
            elif pod.phase is PodPhase.RUNNING and self.is_done and pod.ring is None:
                pod.end(0)  # it found the record
            elif pod.phase is PodPhase.RUNNING:
                pod.ready = True
        for pod in self.live():
            if pod.ring is not None:
                self._train(pod)

    def _members(self, ring):
        return [self.pods.get(f"{JOB}-{m.slot}-{m.incarnation}") for m in ring.members]

    def _train(self, pod):
        if pod.state not in ("forming", "training"):
            return None
        if pod.is_cut:
            return self.lose_peers(pod)
        members = self._members(pod.ring)
        ended = pod.step >= self.program_steps
        if any(self._is_gone(member, pod.revision) for member in members) and not ended:
            return self.lose_peers(pod)
        if any(m is None or m.revision < pod.revision for m in members):
            return None  # waits for the others to take the ring
        if pod.state == "forming":
            pod.state, pod.step = "training", self.saved_step
        elif not ended:
            pod.step += 1
            if pod.is_leader:
                self.saved_step = max(self.saved_step, pod.step - 1)
        elif pod.is_leader and not self.is_done:
            self.is_done = True  # done.json comes first, the end of the process a moment later
            pod.state = "finished"
            pod.end(0, record=FailureRecord("ProgramSucceeded", progress=pod.report().progress))
        else:
            pod.end(0)
        return None

    def _is_gone(self, member, revision):
        if member is None or member.revision > revision or member.is_cut:
            return True
        if not member.lives:
            return member.exit.code != 0
        return member.revision == revision and member.state == "lost"

    def lose_peers(self, pod):
        """A trainer met a cluster fault; its agent lives on."""
        pod.state = "lost"
        pod.trainer_exit = TrainerExit(pod.revision, code=20, reason="ClusterFault", message="peer gone")

    def take_ring(self, pod, ring):
        """What an agent does with `PUT /v1/ring`; False where it says no."""
        if (
            not pod.lives
            or pod.is_cut
            or pod.phase is PodPhase.PENDING
            or ring.rank_of(pod.slot, pod.incarnation) is None
        ):
            return False
        if ring.revision < pod.revision:
            return False
        if ring.after_step and pod.state == "training" and self._is_at_its_end(pod):
            pod.next_ring = ring  # there is no further step after which to end: the program ends, on all workers
            return True
        if ring.revision > pod.revision:
            pod.ring, pod.state, pod.trainer_exit = ring, "forming", None
        return True

    def _is_at_its_end(self, pod):
        members = [member for member in self._members(pod.ring) if member is not None]
        return any(member.revision == pod.revision and member.step >= self.program_steps for member in members)

    @property
    def has_ended(self):
        return is_finished(self.status)
