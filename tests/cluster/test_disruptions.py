"""Faults and a suspension, one after the other, on one job of the main example: its losses are those of one process."""

import os
import signal

from tests.cluster import cluster
from tests.cluster.cluster import finish
from tests.cluster.conftest import SMALL_ARGS, assert_same_losses, histories_of, hurry, unhurried

MINUTES = 60
NAME = "battered"


def test_a_job_that_is_killed_deleted_and_suspended_changes_no_loss(job, small_reference):
    """One after the other, on one job: all that it has of one fault is what the next one meets."""
    cluster.apply(job(NAME, program={"source": unhurried(), "args": SMALL_ARGS}))
    cluster.wait_for(NAME, cluster.trains(), 3 * MINUTES)
    first = workers()
    assert first == [f"{NAME}-0-0", f"{NAME}-1-0"]

    # A trainer is forked again in place.
    os.kill(cluster.trainer_process(first[1]), signal.SIGKILL)
    failure = trains_again(2, restarts=1, disruptions=0)
    assert failure["signal"] == 9
    assert workers() == first

    # A container that ends is a restart.
    os.kill(cluster.agent_process(first[0]), signal.SIGKILL)
    failure = trains_again(3, restarts=2, disruptions=0)
    assert (failure["pod"], failure["exitCode"]) == (first[0], 137)

    # A pod that goes is a disruption.
    cluster.kubectl("delete", "pod", first[1], "--wait=false")
    failure = trains_again(4, restarts=2, disruptions=1)
    assert failure["pod"] == first[1]
    assert "deleted" in failure["message"]

    # A suspended job goes on where it was.
    before = workers()
    cluster.kubectl("patch", "kj", NAME, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    cluster.wait_for(NAME, cluster.phase_is("Suspended"), 30)
    for pod in before:
        cluster.kubectl("wait", f"pod/{pod}", "--for=delete", "--timeout=60s")
    saved = cluster.get("kj", NAME)["status"]
    assert saved["checkpoint"]["step"] >= saved["progress"]["totalStep"], "its last step is saved"
    cluster.kubectl("patch", "kj", NAME, "--type=merge", "-p", '{"spec":{"suspend":false}}')
    trains_again(5, restarts=2, disruptions=1)
    assert workers() == [after(pod) for pod in before]
    hurry(NAME)

    status = finish(NAME)[-1]
    assert (status["disruptions"], status["restarts"]) == (1, 2)
    assert_same_losses(histories_of(cluster.get("kj", NAME)), small_reference)


def trains_again(revision: int, **losses: int) -> dict:
    """What the job says of its last loss, when a new ring has formed since and has trained on."""
    status = cluster.wait_for(NAME, cluster.trains_in_ring(revision, **losses), 2 * MINUTES)[-1]
    step = status["progress"]["totalStep"]
    cluster.wait_for(NAME, lambda status: status["progress"]["totalStep"] > step, MINUTES)
    return status["lastFailure"]


def workers() -> list[str]:
    """The names of the job's pods that are not about to go."""
    pods = [pod["metadata"] for pod in cluster.pods_of(NAME)]
    return sorted(pod["name"] for pod in pods if "deletionTimestamp" not in pod)


def after(pod: str) -> str:
    """The name of the pod that takes a pod's place."""
    slot, incarnation = pod.rsplit("-", 1)
    return f"{slot}-{int(incarnation) + 1}"
