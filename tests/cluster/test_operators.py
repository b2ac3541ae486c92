"""Operators that are killed, all at once."""

import json

import pytest
from tests.cluster import cluster
from tests.cluster.cluster import finish
from tests.cluster.conftest import SMALL_ARGS, assert_same_losses, histories_of, hurry, unhurried

MINUTES = 60
pytestmark = pytest.mark.alone


def test_killed_operators_are_not_noticed_by_jobs(job, example, small_reference):
    """By one that trains, and by one that has just been made."""
    trains, starts = "operator-trains", "operator-starts"
    cluster.apply(job(trains, program={"source": unhurried(), "args": SMALL_ARGS}))
    cluster.wait_for(trains, cluster.trains(), 3 * MINUTES)
    cluster.apply(job(starts, program={**example["spec"]["program"], "args": ["--epochs=1"]}))
    cluster.wait_for(starts, lambda status: bool(status.get("phase")), 30)
    cluster.kubectl(
        "delete", "pod", "-n", "kerasjob-system", "-l", "app.kubernetes.io/name=kerasjob-operator", "--force",
        "--grace-period=0",
    )  # fmt: skip
    assert cluster.get("kj", starts)["status"]["phase"] in ("Pending", "Starting")
    undisturbed(starts)
    running = 'kerasjob_jobs{phase="Running"} == 1'
    cluster.eventually(lambda: cluster.query(running), 60, running)
    hurry(trains)
    undisturbed(trains)
    assert_same_losses(histories_of(cluster.get("kj", trains)), small_reference)


def undisturbed(job: str) -> None:
    """A job ends, with the pods that it was given first and no others."""
    status = finish(job)[-1]
    assert (status["disruptions"], status["restarts"], status["ring"]["revision"]) == (0, 0, 1)
    assert sorted(created(job)) == [f"{job}-0-0", f"{job}-1-0"]


def created(job: str) -> list[str]:
    """The pods of a job that were ever created, as the audit log says."""
    return [
        event["objectRef"]["name"]
        for line in (cluster.STATE / "audit.log").read_text().splitlines()
        if (event := json.loads(line))["verb"] == "create"
        and event["objectRef"].get("resource") == "pods"
        and not event["objectRef"].get("subresource")
        and event.get("responseStatus", {}).get("code") == 201
        and "dryRun=" not in event["requestURI"]
        and event["objectRef"].get("name", "").startswith(f"{job}-")
    ]
