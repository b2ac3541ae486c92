"""TensorBoard beside a job on the cluster: what is written is seen while it is, through the user's own kubectl."""

import json
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
from tests.cluster import cluster
from tests.cluster.conftest import SMALL_EPOCHS, assert_same_losses, histories_of
from tests.trainer.harness import free_ports

NAME = "seen"


@pytest.fixture
def forwarded():
    """The port of this machine that `kerasjob tensorboard` leads to the job's TensorBoard."""
    processes = []

    def make() -> int:
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "kerasjob.cli", "tensorboard", NAME, "-n", "default", "--port", str(port)]
        environment = cluster.ENV | {"PATH": f"{cluster.STATE / 'bin'}:{cluster.ENV['PATH']}"}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        return port

    yield make
    for process in processes:
        process.terminate()
        process.wait()


def epochs_shown(port: int) -> int:
    query = urllib.parse.urlencode({"run": "logs/train", "tag": "epoch_loss"})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?{query}", timeout=5) as said:
            return len(json.load(said))
    except OSError:
        return 0


def test_a_curve_is_seen_while_the_job_trains_and_when_it_has_ended(job, small_reference, forwarded):
    cluster.apply(job(NAME, tensorBoard={}))
    cluster.wait_for(NAME, cluster.trains(), 120)
    deployment = f"deployment/{NAME}-tensorboard"
    cluster.kubectl("wait", deployment, "--for=condition=Available", "--timeout=120s")
    port = forwarded()
    cluster.eventually(lambda: epochs_shown(port) > 0, 60, "the first epochs are seen")
    cluster.finish(NAME)
    cluster.eventually(lambda: epochs_shown(port) == SMALL_EPOCHS, 60, "all epochs are seen")
    assert_same_losses(histories_of(cluster.get("kj", NAME)), small_reference)
    (pod,) = cluster.get("pods", selector=f"kerasjob.dev/tensorboard={NAME}")["items"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
