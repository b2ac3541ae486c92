"""A day in the life of one job, with a fault every five minutes: it goes on, and nothing grows."""

import gc
import itertools
import json
import random
import tracemalloc

from tests.simulation.machine import JobMachine

from kerasjob_api.wire import TrainerExit

HOUR = 3600
ROUND_SECONDS = 5
FAULT_SECONDS = 300
GROWTH_MAX_BYTES = 200_000


def kill_container(machine, pods, choose):
    choose.choice(pods).end(137)


def kill_trainer(machine, pods, choose):
    pod = choose.choice(pods)
    pod.state, pod.trainer_exit = "lost", TrainerExit(pod.revision, signal=9)


def delete_pod(machine, pods, choose):
    choose.choice(pods).delete(machine.world.now)


def cut_node(machine, pods, choose):
    choose.choice(pods).cut_at = machine.world.now


def suspend_or_resume(machine, pods, choose):
    machine.world.change(suspend=not machine.world.spec.suspend)


def lose_the_operator(machine, pods, choose):
    machine.cluster.forget()


FAULTS = (kill_container, kill_trainer, delete_pod, cut_node, suspend_or_resume, lose_the_operator)


def test_a_day_with_a_fault_every_five_minutes():
    choose = random.Random(7)
    machine = JobMachine()
    machine.begin(workers=3, steps=10**9, max_restarts=10**6)
    began, sizes, memory, steps = machine.world.now, [], [], []
    tracemalloc.start()
    try:
        next_fault, next_hour = began + FAULT_SECONDS, began + HOUR
        while machine.world.now < began + 24 * HOUR:
            machine.world.now += ROUND_SECONDS - 1
            machine.round("all")
            machine.one_pass()
            pods = [pod for pod in machine.world.live() if pod.state in ("forming", "training")]
            if machine.world.now >= next_fault:
                next_fault += FAULT_SECONDS
                choose.choice(FAULTS if pods else FAULTS[-2:])(machine, pods, choose)
            if machine.world.now >= next_hour:
                next_hour += HOUR
                machine.cluster.writes.clear()  # the test's own record of all that was ever written
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0])
                data = machine.world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
                sizes.append(len(json.dumps(data)))
                steps.append(machine.world.saved_step)
    finally:
        tracemalloc.stop()
    status = machine.world.status
    assert status.phase not in ("Failed", "Succeeded")
    assert status.restarts + status.disruptions > 100, "there were faults"
    assert all(later > earlier for earlier, later in itertools.pairwise(steps)), "it came on in each hour"
    assert max(sizes) < 8 * 1024
    assert memory[-1] - memory[2] < GROWTH_MAX_BYTES, memory
