"""The simulated body: the port `Cluster` over a simulated world, with faults at every call.

It holds what an operator has in memory (a store that lags behind the world) and checks, in each call, the invariants
that a call can break.
"""

import contextlib
from collections import deque
from dataclasses import replace

from tests.simulation.world import JOB, Pod

from kerasjob_api.constants import ConditionType
from kerasjob_api.names import pod_name
from kerasjob_core.cluster import ClusterError, Conflict, NameTaken, NotFound, QuotaExceeded, Refused, Unavailable
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job, JobRef, Observed, Waiting

NAMESPACE = "default"


class Crash(BaseException):
    """The operator is killed here. No handler of ours may catch it."""


class Late(Crash):
    """It is killed, or loses its lease, while a call is under way, which takes effect later."""


class SimulatedCluster:
    """What one operator process knows and does."""

    def __init__(self, world):
        self.world = world
        self.faults = deque()  # of (exception, whether the call takes effect first)
        self.late = deque()  # calls of an operator that is gone
        self.writes = []  # every call that changed the world, by name
        self.forget()

    def forget(self):
        """A new process: what it knows is what a list of everything says."""
        self.job_view = None
        self.last_call = None
        self.deliver_all()

    def see_job(self):
        """The job's newest event arrives. A job with another uid is another job."""
        new = self._job() if self.world.exists else None
        if new is None or self.job_view is None or new.ref.uid != self.job_view.ref.uid:
            self.pod_view, self.reports, self.silent = {}, {}, {}
            self.base_view = self.world.base
            self.rejection = None
            self.confirmed_absent = frozenset()
        self.job_view = new

    # What watches and polls bring.

    def deliver(self, name):
        """The pod's newest event arrives."""
        pod = self.world.pods.get(name)
        if pod is None or pod.job_uid != self.world.uid:
            self.pod_view.pop(name, None)
            self.reports.pop(name, None)
            self.silent.pop(name, None)
        else:
            known = self.pod_view.get(name)
            if known is not None and known.uid != pod.uid:
                self.reports.pop(name, None)
                self.silent.pop(name, None)
            self.pod_view[name] = pod.observed(None)
            self.confirmed_absent -= {name}

    def deliver_all(self):
        """A resync."""
        self.see_job()
        for name in {*self.world.pods, *self.pod_view}:
            self.deliver(name)

    def poll(self, name):
        """The agent is asked for its report."""
        pod = self.world.pods.get(name)
        if pod is not None and pod.lives and name in self.pod_view and self.pod_view[name].uid == pod.uid:
            if not pod.is_cut:
                self.reports[name] = pod.report()
                self.silent.pop(name, None)
            elif name in self.reports or self.pod_view[name].ready:
                self.silent.setdefault(name, self.world.now)

    def _job(self):
        world = self.world
        ref = JobRef(NAMESPACE, JOB, world.uid)
        return Job(ref, world.generation, str(world.version), 1_000_000.0, world.spec, world.status)

    def late_call_arrives(self):
        """The API server gets what an operator sent that is gone."""
        with contextlib.suppress(ClusterError):
            self.late.popleft()(True)

    # The port.

    def observe(self, namespace, name):
        if self.job_view is None or (namespace, name) != (NAMESPACE, JOB):
            return None
        workers = tuple(
            replace(view, report=self.reports.get(n), silent_since=self.silent.get(n))
            for n, view in self.pod_view.items()
        )
        return Observed(
            self.job_view, workers, self.base_view, self.rejection, self.confirmed_absent, seed=7, image="img"
        )

    async def write_status(self, job, status):
        def effect(late=False):
            world = self.world
            if not world.exists or job.ref.uid != world.uid:
                self.see_job()
                raise NotFound("job")
            if job.resource_version != str(world.version):
                self.see_job()
                raise Conflict("job")
            if is_finished(world.status):
                assert end_of(world.status) == end_of(status), "a terminal job stays terminal"
                assert set(world.status.workers.done) <= set(status.workers.done), "who is done stays so"
            elif is_finished(status):
                world.ended_at = world.now
            check_counts(world, world.status, status)
            rest = {"progress": None, "checkpoint": None, "display": None, "workers": None}
            told = world.status.model_copy(update=rest) == status.model_copy(update=rest)
            self.writes.append("progress" if told else "status")
            world.status, world.version = status, world.version + 1

        self._call("write_status", effect)
        self.see_job()

    async def emit(self, job, event):
        assert self.last_call in ("write_status", "emit"), "events only after the status was written"
        self.last_call = "emit"

    async def ensure_base(self, job, action):
        def effect(late=False):
            if job.ref.uid == self.world.uid and self.world.exists and not self.world.base:
                self.world.base = True
                self.writes.append("base")

        self._call("ensure_base", effect)
        self.base_view = self.world.base

    async def create_worker(self, job, action):
        world = self.world
        name = pod_name(JOB, action.slot, action.incarnation)

        def effect(late=False):
            if job.ref.uid != world.uid or not world.exists:
                return  # made for a job that is gone; the garbage collector takes it
            assert world.base, "pods come after what they need"
            assert late or not world.has_ended, "no pod is created for a finished job"
            assert late or not is_true(world.status, ConditionType.SUSPENDED), "nor for one that is suspended"
            old = world.pods.get(name)
            if old is not None and old.job_uid != world.uid:
                raise NameTaken(name)
            if old is None:
                world.num_pods_made += 1
                world.pods[name] = Pod(f"p{world.num_pods_made}", world.uid, name, action.slot, action.incarnation)
                self.writes.append("pod")

        try:
            self._call("create_worker", effect)
        except Refused as error:
            self.rejection = Waiting("PodRejected", str(error))
            raise
        except QuotaExceeded as error:
            self.rejection = Waiting("QuotaExceeded", str(error))
            raise
        except NameTaken as error:
            self.rejection = Waiting("NameConflict", str(error))
            raise
        self.rejection = None
        self.deliver(name)

    async def delete_worker(self, job, action):
        def effect(late=False):
            pod = self.world.pods.get(action.name)
            if pod is not None and pod.uid == action.uid:
                if action.force:
                    assert pod.is_cut, "only what no node answers for is deleted by force"
                    del self.world.pods[action.name]
                else:
                    pod.delete(self.world.now)
                self.writes.append("delete")

        self._call("delete_worker", effect)
        self.deliver(action.name)

    async def delete_job(self, job, action):
        def effect(late=False):
            world = self.world
            if world.exists and job.ref.uid == world.uid:
                assert world.has_ended, "only a job that has ended goes by itself"
                assert world.now >= world.ended_at + world.spec.ttl_seconds_after_finished, "and not before its time"
                world.remove()
                self.writes.append("delete job")

        self._call("delete_job", effect)
        self.see_job()

    async def confirm_absent(self, job, action):
        self._call("confirm_absent", lambda late=False: None)
        pod = self.world.pods.get(action.name)
        if pod is not None and pod.job_uid == self.world.uid:
            self.deliver(action.name)
        else:
            self.confirmed_absent |= {action.name}

    async def push_rings(self, job, actions):
        unreachable = None
        for action in actions:
            try:
                await self._push_ring(job, action)
            except Unavailable as error:
                unreachable = error
        if unreachable is not None:
            raise unreachable

    async def _push_ring(self, job, action):
        world = self.world

        def effect(late=False):
            if job.ref.uid == world.uid:
                ring = world.status.ring
                assert ring is not None, "a ring is written before it is pushed"
                assert ring.revision >= action.ring.revision, "a ring is written before it is pushed"
                if ring.revision == action.ring.revision:
                    written = [(m.slot, m.incarnation, m.port or ring.port) for m in ring.members]
                    assert written == [(m.slot, m.incarnation, m.port) for m in action.ring.members]
            pod = world.pods.get(action.worker)
            if pod is None or pod.job_uid != action.ring.job or not world.take_ring(pod, action.ring):
                raise Unavailable("no agent there")

        self._call("push_ring", effect)
        self.poll(action.worker)

    def _call(self, name, effect):
        self.last_call = name
        error, takes_effect = self.faults.popleft() if self.faults else (None, True)
        if isinstance(error, Late):
            self.late.append(effect)
        elif takes_effect:
            effect()
        if error is not None:
            self.last_call = None
            raise error


def check_counts(world, old, new):
    """At most one restart or disruption per ring revision, and per try to come to one."""
    counted = new.restarts + new.disruptions - old.restarts - old.disruptions
    was_whole = old.ring is not None and not old.ring.broken
    # A trainer lost in place: its ring is broken and the next one granted in one write. One that grows is not broken.
    follows = new.ring is not None and old.ring is not None and new.ring.revision > old.ring.revision
    breaks = was_whole and new.ring is not None and (new.ring.broken or (follows and not new.ring.after_step))
    before, after = slots_of(old), slots_of(new)
    if follows and new.ring.after_step:
        assert was_whole, "only a whole ring ends after a step"
        leaves = {slot for slot in before if slot >= world.spec.workers}
        stays = before - leaves
        shrinks = stays and stays <= after and not leaves & after
        assert shrinks if leaves and not leaves <= after else after > before, "it ends so that it can grow or shrink"
    is_member = {(m.slot, m.incarnation) for m in old.ring.members} if old.ring is not None else set()
    was = {(slot, old.incarnation_of(slot)) for slot in range(8)}
    newcomers = {(slot, number) for slot, number in was if new.incarnation_of(slot) > number} - is_member
    assert counted <= 1, "at most one loss is counted at once"
    assert not counted or breaks or newcomers - world.tried, "at most one is counted per ring revision, or try"
    if new.ring is not None and (old.ring is None or follows):
        world.tried = set()
    elif counted:
        world.tried = was
    if is_true(new, ConditionType.SUSPENDED) and not is_true(old, ConditionType.SUSPENDED):
        assert counted == 0, "to be suspended is no loss"
    else:
        assert counted >= breaks, "a ring does not break without a loss that is counted"
    if old.ring is not None:
        assert new.ring is not None, "a ring revision is never lost"
        assert new.ring.revision in (old.ring.revision, old.ring.revision + 1), "ring revisions go up by one"
    assert all(new.incarnation_of(slot) >= old.incarnation_of(slot) for slot in range(8)), "incarnations go up"
    assert new.active_seconds >= old.active_seconds
    assert len(new.failures) <= 5


def end_of(status):
    """What of a status is final at the job's end; workers end well after it, and are counted."""
    return status.model_copy(update={"observed_generation": 0, "workers": None, "display": None})


def slots_of(status):
    return {member.slot for member in status.ring.members} if status.ring is not None else set()
