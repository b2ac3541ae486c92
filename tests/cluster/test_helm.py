"""The chart's life on a real cluster, from its package: a job trains through upgrade, uninstall and install."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.cluster import cluster
from tests.cluster.cluster import kubectl
from tests.cluster.conftest import SMALL_ARGS, assert_same_losses, histories_of, hurry, unhurried

from kerasjob_cluster import tools, workloads

pytestmark = pytest.mark.alone

CHART = cluster.ROOT / "charts/kerasjob"
SYSTEM = "kerasjob-system"
RELEASE = "kerasjob"
NAME = "through-helm"
CRD = "crd/kerasjobs.kerasjob.dev"
# The images of this cluster, and what manifests/dev sets.
VALUES = {
    "image": {"repository": "localhost/kerasjob/operator", "tag": "dev"},
    "trainer": {"image": {"repository": "localhost/kerasjob/trainer", "tag": "dev"}},
    "progressIntervalSeconds": 3,
    "monitoring": {"namespace": SYSTEM},
}


def helm(*arguments: str | Path) -> str:
    run = subprocess.run(
        [cluster.STATE / "bin" / "helm", *arguments], capture_output=True, text=True, env=cluster.ENV, timeout=180
    )
    assert run.returncode == 0, f"helm {' '.join(map(str, arguments))}: {run.stdout}{run.stderr}"
    return run.stdout


@pytest.fixture
def no_operator():
    """A cluster without operator, CRD and rights. Afterwards it has again what `cluster-up` put there."""
    tools.ensure({"helm"})
    deployed = cluster.get("deployment", "kerasjob-operator", SYSTEM)
    digest = deployed["spec"]["template"]["metadata"]["annotations"][workloads.DIGEST_ANNOTATION]
    rendered = yaml.safe_load_all(kubectl("kustomize", str(workloads.MANIFESTS)).stdout)
    ours = [item for item in rendered if item["kind"] != "Namespace"]  # S3 and Prometheus have their names in it
    try:
        kubectl("delete", "-f", "-", "--wait=true", stdin=yaml.safe_dump_all(ours))
        yield
    finally:
        helm("uninstall", RELEASE, "-n", SYSTEM, "--ignore-not-found", "--wait")
        kubectl("delete", CRD, "--ignore-not-found")
        workloads.deploy_operator(digest)


def package(chart: Path, version: str, folder: Path) -> Path:
    helm("package", chart, "--version", version, "-d", folder)
    return folder / f"kerasjob-{version}.tgz"


@pytest.fixture
def packages(tmp_path) -> tuple[Path, Path]:
    """The chart, and a newer one whose CRD has one more column."""
    newer = tmp_path / "newer"
    shutil.copytree(CHART, newer)
    file = newer / "files/kerasjobs.yaml"
    crd = yaml.safe_load(file.read_text())
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    columns.append({"name": "Ring", "type": "integer", "jsonPath": ".status.ring.revision"})
    file.write_text(yaml.safe_dump(crd))
    return package(CHART, "0.1.0", tmp_path), package(newer, "0.1.1", tmp_path)


@pytest.fixture
def values(tmp_path) -> Path:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(VALUES))
    return file


def columns() -> list[str]:
    return kubectl("get", CRD, "-o", "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}").stdout.split()


def pods() -> dict[str, str]:
    """The phase of each worker's pod, by its uid."""
    return {pod["metadata"]["uid"]: pod["status"]["phase"] for pod in cluster.pods_of(NAME)}


def operators() -> list[str]:
    items = cluster.get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=kerasjob-operator")["items"]
    return [f"pod/{item['metadata']['name']}" for item in items]


def wait_until_gone(names: list[str]) -> None:
    assert names
    kubectl("wait", *names, "-n", SYSTEM, "--for=delete", "--timeout=60s")


def newest_checkpoint(uid: str) -> str:
    return max((key for key in cluster.keys(f"checkpoints/{uid}/manifests/")), default="")


def test_a_job_trains_on_while_its_operator_is_upgraded_and_goes_and_comes(
    no_operator, packages, values, job, small_reference
):
    first, newer = packages
    install = ("-n", SYSTEM, "-f", values, "--wait", "--timeout=120s")
    helm("install", RELEASE, first, *install)
    helm("test", RELEASE, "-n", SYSTEM, "--timeout=60s")
    cluster.apply(job(NAME, program={"source": unhurried(), "args": SMALL_ARGS}))
    cluster.wait_for(NAME, cluster.trains(), 120)
    before = pods()
    assert sorted(before.values()) == ["Running", "Running"]
    assert "Ring" not in columns()

    old = operators()
    helm("upgrade", RELEASE, newer, *install)
    wait_until_gone(old)
    assert "Ring" in columns()
    assert pods() == before
    step = cluster.get("kj", NAME)["status"]["progress"]["totalStep"]
    told = cluster.wait_for(NAME, lambda s: s["progress"]["totalStep"] > step, 60)[-1]  # by the new operator
    assert (told["phase"], told["restarts"], told["disruptions"]) == ("Running", 0, 0)

    last = operators()
    helm("uninstall", RELEASE, "-n", SYSTEM, "--wait")
    wait_until_gone(last)
    assert operators() == []
    assert "Ring" in columns(), "the CRD stays"
    alone = cluster.get("kj", NAME)
    assert alone["status"]["phase"] == "Running"
    assert pods() == before
    saved = newest_checkpoint(alone["metadata"]["uid"])
    cluster.eventually(lambda: newest_checkpoint(alone["metadata"]["uid"]) > saved, 60, "it trains on alone")
    assert pods() == before

    helm("install", RELEASE, newer, *install)
    hurry(NAME)
    status = cluster.finish(NAME)[-1]
    ended = cluster.get("kj", NAME)
    assert ended["metadata"]["uid"] == alone["metadata"]["uid"]
    assert (status["restarts"], status["disruptions"], status["ring"]["revision"]) == (0, 0, 1)
    assert_same_losses(histories_of(ended), small_reference)
    newest = newest_checkpoint(ended["metadata"]["uid"])
    assert newest > saved
    assert status["checkpoint"]["uri"].startswith(f"s3://kerasjob/checkpoints/{ended['metadata']['uid']}/")
