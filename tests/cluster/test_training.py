"""One KerasJob trains for real: two nodes, the right loss, checkpoints in S3, a scrape in Prometheus."""

import json

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
        'count(up{kerasjob_dev_job="mnist"} == 1) == 2',
        'kerasjob_jobs{namespace="default",phase="Running"} >= 1',
        "kerasjob_reconcile_duration_seconds_count > 0",
        "kerasjob_queue_depth >= 0",
        'kerasjob_trainer_step_duration_seconds_count{kerasjob_dev_job="mnist"} > 0',
        'kerasjob_trainer_samples_per_second{kerasjob_dev_job="mnist"} > 0',
        'kerasjob_trainer_loss{kerasjob_dev_job="mnist"} > 0',
        'kerasjob_checkpoint_duration_seconds_count{kerasjob_dev_job="mnist"} > 0',
        'kerasjob_checkpoint_bytes{kerasjob_dev_job="mnist"} > 0',
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
