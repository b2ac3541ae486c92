"""Where no node has room for a lost worker's replacement, the job goes on with fewer, and takes it in when one has."""

from tests.cluster import cluster
from tests.cluster.conftest import SMALL_ARGS, assert_same_losses, histories_of, unhurried

NAME = "elastic"


def ring_of(count: int):
    """Whether a ring of so many workers trains."""

    def check(status: dict) -> bool:
        ring = status.get("ring") or {"broken": True}
        return status["phase"] == "Running" and not ring["broken"] and len(ring["members"]) == count

    return check


def test_a_job_goes_on_with_one_worker_and_takes_the_other_in_again(job, small_reference):
    program = {"source": unhurried(seconds=2), "args": SMALL_ARGS}
    cluster.apply(job(NAME, program=program, elastic={"minWorkers": 1, "waitSeconds": 3}))
    cluster.wait_for(NAME, cluster.trains(), 120)
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    cluster.kubectl("cordon", *nodes)
    try:
        cluster.kubectl("delete", "pod", f"{NAME}-1-0", "--wait=false")
        status = cluster.wait_for(NAME, ring_of(1), 60)[-1]
        assert cluster.get("pod", f"{NAME}-1-1")["status"]["phase"] == "Pending"
        step = (status["progress"] or {}).get("totalStep", 0)
        cluster.wait_for(NAME, lambda s: s["progress"]["totalStep"] > step, 60)
    finally:
        cluster.kubectl("uncordon", *nodes)
    cluster.wait_for(NAME, ring_of(2), 60)
    status = cluster.finish(NAME)[-1]
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert_same_losses(histories_of(cluster.get("kj", NAME)), small_reference)
