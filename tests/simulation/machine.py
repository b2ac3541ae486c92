"""The adversary: kills, lost events, API errors, crashes and user's actions, in any order hypothesis likes.

What must hold whatever happens is asserted by the body (in its calls) and by the invariants and the ending here.
"""

import functools

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.simulation.body import NAMESPACE, Crash, Late, SimulatedCluster, end_of
from tests.simulation.world import JOB, World

from kerasjob_api.constants import ConditionType
from kerasjob_api.spec import Elastic, KerasJobSpec
from kerasjob_api.spec_failure import FailurePolicy, FailureRule, OnExitCodes
from kerasjob_api.spec_program import Program
from kerasjob_api.wire import FailureRecord, TrainerExit
from kerasjob_core.cluster import ClusterError, QuotaExceeded, Refused, Unavailable
from kerasjob_core.conditions import is_true
from kerasjob_core.decide import DEFAULT_SETTINGS
from kerasjob_core.reconciler import reconcile
from kerasjob_core.times import from_rfc3339

PASSES_MAX = 30
ROUNDS_MAX = 200
ERRORS = (
    lambda: Unavailable("500"),
    lambda: QuotaExceeded("quota"),
    lambda: Refused("denied by a webhook"),
    Crash,
    Late,
)
RULES = (
    (),
    (FailureRule(action="Ignore", on_exit_codes=OnExitCodes(values=(137,))),),
    (FailureRule(action="FailJob", on_reasons=("OutOfMemory",)),),
    (FailureRule(action="RestartJob", on_message="bad .*shape"),),
)


# How long the world and the operator go on after each thing that happens, and how much the operator is told of it.
ROUNDS = st.integers(0, 4)
NEWS = st.sampled_from(["all", "all", "events", "reports", "none"])


def happens(**strategies):
    """A rule, after which life goes on for some rounds. (A rule of its own for that would often be left out.)"""

    def decorate(function):
        @rule(rounds=ROUNDS, news=NEWS, **strategies)
        @functools.wraps(function)
        def happening(self, rounds, news, **drawn):
            function(self, **drawn)
            for _ in range(rounds):
                self.round(news)

        return happening

    return decorate


def run(coroutine):
    """Runs a coroutine that never waits: nothing in the simulated body does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the simulated body waits for nothing")


class JobMachine(RuleBasedStateMachine):
    """One job, one operator, one adversary."""

    @initialize(
        workers=st.integers(1, 3),
        steps=st.integers(1, 20),
        max_restarts=st.integers(0, 4),
        rounds=st.integers(0, 8),
        least=st.sampled_from([0, 0, 1, 2]),
        wait_seconds=st.sampled_from([0, 5, 60]),
        rules=st.sampled_from(RULES),
        suspend=st.sampled_from([False, False, False, True]),
        deadline=st.sampled_from([None, None, None, 60, 600]),
        ttl=st.sampled_from([None, None, 0, 20]),
        success=st.sampled_from(["Leader", "Leader", "All"]),
    )
    def begin(
        self,
        workers,
        steps,
        max_restarts,
        rounds=0,
        least=0,
        wait_seconds=0,
        rules=(),
        suspend=False,
        deadline=None,
        ttl=None,
        success="Leader",
    ):
        spec = KerasJobSpec(
            workers=workers,
            elastic=Elastic(min_workers=least, wait_seconds=wait_seconds) if 0 < least <= workers else None,
            program=Program(script="train.py"),
            failure_policy=FailurePolicy(max_restarts=max_restarts, rules=rules),
            suspend=suspend,
            active_deadline_seconds=deadline,
            ttl_seconds_after_finished=ttl,
            success_policy=success,
        )
        self.world = World(steps, spec)
        self.cluster = SimulatedCluster(self.world)
        self.last_end = None
        self.had_error = False
        self.num_failures = self.num_disruptions = 0
        for _ in range(rounds):
            self.round("all")

    # The operator.

    @happens()
    def nothing(self):
        pass

    @rule(passes=st.integers(1, 3))
    def operator_passes(self, passes):
        for _ in range(passes):
            self.one_pass()

    @happens(error=st.integers(0, len(ERRORS) - 1), after=st.integers(0, 3), takes_effect=st.booleans())
    def call_will_fail(self, error, after, takes_effect):
        made = ERRORS[error]()
        # A refusal, unlike a lost answer, never takes effect.
        takes_effect = takes_effect and isinstance(made, (Unavailable, Crash))
        self.cluster.faults.extend([(None, True)] * after + [(made, takes_effect)])

    @happens()
    def operator_is_killed(self):
        self.cluster.faults.clear()
        self.cluster.forget()

    @precondition(lambda self: self.world.pods)
    @happens(index=st.integers(0, 5))
    def event_of_one_pod(self, index):
        name = self.name(index)
        self.cluster.deliver(name)
        self.cluster.poll(name)

    @happens()
    def somebody_labels_the_job(self):
        self.world.version += 1

    # The world.

    @precondition(lambda self: self.cluster.pod_view)
    @happens(index=st.integers(0, 5))
    def store_loses_a_pod_that_is_there(self, index):
        names = sorted(self.cluster.pod_view)
        self.cluster.pod_view.pop(names[index % len(names)])

    @rule()
    def tick(self):
        self.world.tick()

    @happens(seconds=st.integers(1, 30))
    def time_passes(self, seconds):
        self.world.now += seconds

    @precondition(lambda self: self.world.live())
    @happens(index=st.integers(0, 5))
    def pod_is_deleted(self, index):
        self.live(index).delete(self.world.now)
        self.num_disruptions += 1

    @precondition(lambda self: self.world.live())
    @happens(index=st.integers(0, 5))
    def node_is_cut_off(self, index):
        """For good; after a while Kubernetes takes its pods away, in its books."""
        pod = self.live(index)
        pod.cut_at = self.world.now if pod.cut_at is None else pod.cut_at
        self.num_disruptions += 1

    @precondition(lambda self: self.world.live())
    @happens(index=st.integers(0, 5))
    def node_is_drained(self, index):
        pod = self.live(index)
        pod.disruption = "EvictionByEvictionAPI"
        pod.end(30, record=FailureRecord("Preempted"))
        self.num_disruptions += 1

    @precondition(lambda self: self.world.live())
    @happens(index=st.integers(0, 5), reason=st.sampled_from(["", "OOMKilled"]))
    def container_is_killed(self, index, reason):
        self.live(index).end(137, reason=reason)
        self.num_failures += 1

    @precondition(lambda self: self.world.live())
    @happens(index=st.integers(0, 5))
    def pod_vanishes_unseen(self, index):
        del self.world.pods[self.live(index).name]
        self.num_disruptions += 1

    @precondition(lambda self: self.ended())
    @happens(index=st.integers(0, 5))
    def pod_that_has_ended_is_collected(self, index):
        ended = self.ended()
        del self.world.pods[ended[index % len(ended)].name]
        self.num_disruptions += 1  # unless it was seen to be done

    @precondition(lambda self: self.trainers())
    @happens(index=st.integers(0, 5))
    def trainer_is_killed(self, index):
        trainers = self.trainers()
        pod = trainers[index % len(trainers)]
        pod.state, pod.trainer_exit = "lost", TrainerExit(pod.revision, signal=9)
        self.num_failures += 1

    @precondition(lambda self: self.trainers())
    @happens(index=st.integers(0, 5))
    def trainer_loses_its_peers(self, index):
        trainers = self.trainers()
        pod = trainers[index % len(trainers)]
        self.world.lose_peers(pod)
        self.num_failures += 1

    @precondition(lambda self: len(self.trainers()) > 1)
    @happens()
    def program_of_a_peer_ends_early(self):
        """Its script has less to do than the leader's, whose collectives then fail."""
        leader, peer = self.trainers()[0], self.trainers()[-1]
        if not peer.is_leader and peer.revision == leader.revision:
            peer.end(0)
            self.world.lose_peers(leader)
            self.num_failures += 1

    @precondition(lambda self: self.trainers())
    @happens(index=st.integers(0, 5))
    def program_raises(self, index):
        trainers = self.trainers()
        trainers[index % len(trainers)].end(10, record=FailureRecord("UserError", "bad shape", "ValueError"))
        self.num_failures += 1
        self.had_error = True

    @precondition(lambda self: self.cluster.late)
    @happens()
    def late_call_arrives(self):
        self.cluster.late_call_arrives()

    # The user.

    @precondition(lambda self: self.world.exists)
    @happens()
    def job_is_deleted(self):
        self.world.remove()

    @precondition(lambda self: self.world.exists)
    @happens(suspend=st.booleans())
    def job_is_suspended_or_resumed(self, suspend):
        self.world.change(suspend=suspend)

    @precondition(lambda self: self.world.exists and self.world.spec.elastic is not None)
    @happens(workers=st.integers(1, 4))
    def job_is_scaled(self, workers):
        """What the API server's rule lets through: not below the least."""
        self.world.change(workers=max(workers, self.world.spec.elastic.min_workers))

    @precondition(lambda self: not self.world.exists)
    @happens()
    def job_is_made_again(self):
        self.make_again()

    # What must hold.

    @invariant()
    def restarts_stay_within_the_budget(self):
        status, policy = self.world.status, self.world.spec.failure_policy
        if status.restarts > policy.max_restarts:
            assert status.phase == "Failed"
        counted, happened = status.restarts + status.disruptions, self.num_failures + self.num_disruptions
        assert counted <= happened, "nothing is counted but a loss, and once"
        if not policy.rules:
            assert status.restarts <= self.num_failures, "nothing counts as a restart but a failure"
            assert status.disruptions <= self.num_disruptions, "nothing counts as a disruption but one"

    @invariant()
    def one_pod_per_slot_in_the_ring(self):
        ring = self.world.status.ring
        admitted = [p.slot for p in self.world.live() if ring is not None and p.revision == ring.revision]
        assert len(admitted) == len(set(admitted))

    @invariant()
    def no_ring_is_smaller_than_the_user_allows(self):
        ring, spec = self.world.status.ring, self.world.spec
        least = spec.workers if spec.elastic is None else spec.elastic.min_workers
        most = spec.workers if spec.elastic is None else 4
        assert ring is None or least <= len(ring.members) <= most

    @invariant()
    def an_end_is_an_end(self):
        if self.world.has_ended:
            end = end_of(self.world.status)
            assert self.last_end in (None, end)
            self.last_end = end

    @invariant()
    def a_deadline_is_not_early(self):
        status, limit = self.world.status, self.world.spec.active_deadline_seconds
        if status.last_failure is not None and status.last_failure.reason == "DeadlineExceeded":
            assert self.world.ended_at >= from_rfc3339(status.start_time) + limit

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.cluster.faults.clear()
        while self.cluster.late:
            self.cluster.late_call_arrives()
        if not self.world.exists:
            self.make_again()
        if self.world.spec.suspend:
            self.check_that_it_is_suspended()
            self.world.change(suspend=False)
        for _ in range(ROUNDS_MAX):
            self.world.now += 5
            self.world.tick()
            self.cluster.deliver_all()
            self.poll_all()
            self.settle()
            if self.is_over():
                break
        status = self.world.status
        assert self.is_over(), f"it ends, and goes when its time has come; it is {status.phase}"
        assert self.world.has_ended, f"a job that can finish does finish; it is {status.phase}"
        assert not self.world.live(), "nothing runs on after the end"
        policy = self.world.spec.failure_policy
        by_deadline = status.last_failure is not None and status.last_failure.reason == "DeadlineExceeded"
        if not self.had_error and not by_deadline and not policy.rules and status.restarts <= policy.max_restarts:
            assert status.phase == "Succeeded", status.last_failure
        assert status.workers.ready == 0, "of a job that has ended no worker is ready"
        if status.phase == "Succeeded":
            assert self.world.is_done, "success is the leader's word"
            assert status.workers.succeeded > 0, "and is counted"
        self.restarts_stay_within_the_budget()

    # Helpers.

    def is_over(self):
        stays = self.world.spec.ttl_seconds_after_finished is None
        return self.world.has_ended and not self.world.live() and (stays or not self.world.exists)

    def check_that_it_is_suspended(self):
        """A suspended job comes to have no pods, and stays so."""
        for _ in range(100):
            self.world.now += 5
            self.world.tick()
            self.cluster.deliver_all()
            self.settle()
        assert self.is_over() or self.world.has_ended or not self.world.live(), "a suspended job has no pods"
        assert self.world.has_ended or is_true(self.world.status, ConditionType.SUSPENDED)

    def round(self, news):
        """A moment of the world, what the operator hears of it, and one pass."""
        self.world.tick()
        if news in ("all", "events"):
            self.cluster.deliver_all()
        if news in ("all", "reports"):
            self.poll_all()
        self.one_pass()

    def make_again(self):
        self.world.make_again()
        self.last_end = None
        self.had_error = False
        self.num_failures = self.num_disruptions = 0

    def poll_all(self):
        for name in list(self.world.pods):
            self.cluster.poll(name)

    def one_pass(self):
        try:
            return run(reconcile(self.cluster, NAMESPACE, JOB, self.world.now, DEFAULT_SETTINGS))
        except ClusterError:
            return None
        except Crash:
            self.cluster.forget()
            return None

    def settle(self):
        """With no faults and nothing new the brain comes to rest, and then writes nothing."""
        for _ in range(PASSES_MAX):
            plan = self.one_pass()
            if plan is not None and plan.status is None and not plan.actions:
                assert not plan.events, "no events without a write"
                return
            if plan is None and not self.world.exists:
                return
        if plan is None and any(pod.is_cut for pod in self.world.live()):
            return  # it goes on trying to reach it, and is heard of in the end
        raise AssertionError(f"status does not converge: {plan}")

    def live(self, index):
        live = self.world.live()
        return live[index % len(live)]

    def name(self, index):
        names = sorted(self.world.pods)
        return names[index % len(names)]

    def ended(self):
        return [pod for pod in self.world.pods.values() if not pod.lives]

    def trainers(self):
        return [p for p in self.world.live() if p.state in ("forming", "training")]
