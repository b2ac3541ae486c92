"""Where no node has room for a lost worker's replacement, the job goes on with fewer, and takes it in when one has."""

import pytest
from tests.cluster import cluster
from tests.cluster.conftest import SMALL_ARGS, assert_same_losses, histories_of, hurry, unhurried

NAME = "elastic"
ROOM = "kerasjob.dev/room-for-elastic"  # a label: without it a node has none, for this job alone


@pytest.fixture
def room():
    """All nodes have room."""
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    cluster.kubectl("label", "node", *nodes, f"{ROOM}=yes")
    yield nodes
    cluster.kubectl("label", "node", *nodes, f"{ROOM}-")


def ring_of(count: int):
    """Whether a ring of so many workers trains."""

    def check(status: dict) -> bool:
        ring = status.get("ring") or {"broken": True}
        return status["phase"] == "Running" and not ring["broken"] and len(ring["members"]) == count

    return check


def test_a_job_goes_on_with_one_worker_and_takes_the_other_in_again(room, job, small_reference):
    program = {"source": unhurried(), "args": SMALL_ARGS}
    made = job(NAME, program=program, elastic={"minWorkers": 1, "waitSeconds": 3})
    made["spec"]["podTemplate"]["spec"]["nodeSelector"] = {ROOM: "yes"}
    cluster.apply(made)
    cluster.wait_for(NAME, cluster.trains(), 120)
    cluster.kubectl("label", "node", *room, f"{ROOM}=no", "--overwrite")
    cluster.kubectl("delete", "pod", f"{NAME}-1-0", "--wait=false")
    status = cluster.wait_for(NAME, ring_of(1), 60)[-1]
    assert cluster.get("pod", f"{NAME}-1-1")["status"]["phase"] == "Pending"
    step = (status["progress"] or {}).get("totalStep", 0)
    cluster.wait_for(NAME, lambda s: s["progress"]["totalStep"] > step, 60)
    cluster.kubectl("label", "node", *room, f"{ROOM}=yes", "--overwrite")
    cluster.wait_for(NAME, ring_of(2), 60)
    hurry(NAME)
    status = cluster.finish(NAME)[-1]
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert_same_losses(histories_of(cluster.get("kj", NAME)), small_reference)
