"""One KerasJob trains for real: two nodes, the right loss, checkpoints in S3, a scrape in Prometheus, faults."""

import json
import os
import signal

import pytest
from tests.cluster import cluster
from tests.cluster.cluster import finish
from tests.cluster.conftest import assert_same_losses, histories_of

MINUTES = 60


def test_apply_trains_on_two_nodes_with_the_losses_of_one_process(example, reference):
    cluster.delete("mnist")
    cluster.kubectl("apply", "-f", str(cluster.ROOT / "examples/mnist/kerasjob.yaml"))
    try:
        cluster.wait_for("mnist", cluster.trains(), 3 * MINUTES)
        assert len({pod["spec"]["nodeName"] for pod in cluster.pods_of("mnist")}) == 2
        prometheus_has_what_a_running_job_shows()
        seen = finish("mnist")
        assert_progress_moved(seen)
        job = cluster.get("kj", "mnist")
        assert_same_losses(histories_of(job), reference)
        assert_checkpoints_are_kept(example, job)
        table = cluster.kubectl("get", "kj", "mnist").stdout
        assert all(
            column in table for column in ("PHASE", "WORKERS", "EPOCH", "STEP", "LOSS", "ETA", "RESTARTS", "AGE")
        )
        assert "Succeeded" in table
    finally:
        cluster.delete("mnist")


def prometheus_has_what_a_running_job_shows():
    for expression in (
        'count(up{namespace="kerasjob-system"} == 1) >= 1',
        'count(up{namespace="default"} == 1) == 2',
        'kerasjob_jobs{phase="Running"} == 1',
        "kerasjob_reconcile_duration_seconds_count > 0",
        "kerasjob_queue_depth >= 0",
        "kerasjob_trainer_step_duration_seconds_count > 0",
        "kerasjob_trainer_samples_per_second > 0",
        "kerasjob_trainer_loss > 0",
        "kerasjob_checkpoint_duration_seconds_count > 0",
        "kerasjob_checkpoint_bytes > 0",
    ):
        cluster.eventually(lambda e=expression: cluster.query(e), 60, expression)


def assert_progress_moved(seen: list[dict]):
    shown = [(s["display"]["epoch"], s["display"]["step"], s["display"]["loss"]) for s in seen if s.get("progress")]
    assert len(set(shown)) >= 2, shown
    assert any(s["display"].get("eta") for s in seen)


def assert_checkpoints_are_kept(example: dict, job: dict):
    prefix = f"checkpoints/{job['metadata']['uid']}/"
    manifests = [key for key in cluster.keys(prefix) if "/manifests/" in key]
    newest = json.loads(cluster.s3().get_object(Bucket="kerasjob", Key=max(manifests))["Body"].read())
    kept = example["spec"]["checkpoint"]["keep"]["last"]
    assert kept <= len(manifests) <= kept + len(newest["keep"])
    present = set(cluster.keys(prefix))
    checkpoint = max(manifests).rsplit("/", 1)[1].removesuffix(".json")
    files = {f"{file['sha256'][:16]}-{file['name']}" for file in newest["files"]}
    assert {f"{prefix}checkpoints/{checkpoint}/{file}" for file in files} <= present
    assert job["status"]["checkpoint"]["step"] == newest["step"]


def test_a_deleted_pod_is_a_disruption_and_changes_no_loss(job, small_reference):
    cluster.apply(job("deleted"))
    cluster.wait_for("deleted", cluster.trains(epoch=2), 3 * MINUTES)
    cluster.kubectl("delete", "pod", "deleted-1-0", "--wait=false")
    status = finish("deleted")[-1]
    assert (status["disruptions"], status["restarts"]) == (1, 0)
    assert status["lastFailure"]["pod"] == "deleted-1-0"
    assert "deleted" in status["lastFailure"]["message"]
    assert_same_losses(histories_of(cluster.get("kj", "deleted")), small_reference)


def test_a_killed_container_is_a_restart_and_changes_no_loss(job, small_reference):
    cluster.apply(job("killed"))
    cluster.wait_for("killed", cluster.trains(epoch=2), 3 * MINUTES)
    os.kill(cluster.agent_process("killed-0-0"), signal.SIGKILL)
    status = finish("killed")[-1]
    assert (status["disruptions"], status["restarts"]) == (0, 1)
    assert status["lastFailure"]["pod"] == "killed-0-0"
    assert status["lastFailure"]["exitCode"] == 137
    assert_same_losses(histories_of(cluster.get("kj", "killed")), small_reference)


def test_a_killed_trainer_is_forked_again_in_place(job, small_reference):
    cluster.apply(job("forked"))
    cluster.wait_for("forked", cluster.trains(epoch=2), 3 * MINUTES)
    os.kill(cluster.trainer_process("forked-1-0"), signal.SIGKILL)
    status = finish("forked")[-1]
    assert (status["disruptions"], status["restarts"]) == (0, 1)
    assert status["lastFailure"]["signal"] == 9
    assert {pod["metadata"]["name"] for pod in cluster.pods_of("forked")} == {"forked-0-0", "forked-1-0"}
    assert_same_losses(histories_of(cluster.get("kj", "forked")), small_reference)


def test_a_suspended_job_goes_on_where_it_was(job, small_reference):
    cluster.apply(job("paused"))
    cluster.wait_for("paused", cluster.trains(epoch=2), 3 * MINUTES)
    cluster.kubectl("patch", "kj", "paused", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    cluster.wait_for("paused", cluster.phase_is("Suspended"), 30)
    for slot in range(2):
        cluster.kubectl("wait", f"pod/paused-{slot}-0", "--for=delete", "--timeout=60s")
    saved = cluster.get("kj", "paused")["status"]
    assert saved["checkpoint"]["step"] >= saved["progress"]["totalStep"], "its last step is saved"
    cluster.kubectl("patch", "kj", "paused", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = finish("paused")[-1]
    assert (status["disruptions"], status["restarts"]) == (0, 0)
    assert {pod["metadata"]["name"] for pod in cluster.pods_of("paused")} == {"paused-0-1", "paused-1-1"}
    assert_same_losses(histories_of(cluster.get("kj", "paused")), small_reference)


@pytest.mark.parametrize("moment", ["starts", "trains"])
def test_a_killed_operator_is_not_noticed_by_the_job(job, moment):
    name = f"operator-{moment}"
    audit = cluster.STATE / "audit.log"
    cluster.apply(job(name))
    if moment == "trains":
        cluster.wait_for(name, cluster.trains(), 3 * MINUTES)
    else:
        cluster.wait_for(name, lambda status: bool(status.get("phase")), 30)
    cluster.kubectl(
        "delete", "pod", "-n", "kerasjob-system", "-l", "app.kubernetes.io/name=kerasjob-operator", "--force",
        "--grace-period=0",
    )  # fmt: skip
    status = finish(name)[-1]
    assert (status["disruptions"], status["restarts"], status["ring"]["revision"]) == (0, 0, 1)
    created = [
        event["objectRef"]["name"]
        for line in audit.read_text().splitlines()
        if (event := json.loads(line))["verb"] == "create"
        and event["objectRef"].get("resource") == "pods"
        and not event["objectRef"].get("subresource")
        and event.get("responseStatus", {}).get("code") == 201
        and "dryRun=" not in event["requestURI"]
        and event["objectRef"].get("name", "").startswith(f"{name}-")
    ]
    assert sorted(created) == [f"{name}-0-0", f"{name}-1-0"]
