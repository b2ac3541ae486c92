"""What other people's programs say of what we ship: alerts, metrics, manifests, the chart, the Dockerfile."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from tests.integration.conftest import eventually
from tests.integration.control_plane import ROOT
from tests.integration.test_chart import CHART, helm, key, monitors
from tests.unit.operator.test_job_metrics import a_full_status
from tests.unit.operator.test_store import job

from kerasjob_cluster import paths, tools
from kerasjob_operator import metrics as operator_metrics
from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.store import Store
from kerasjob_trainer import metrics as trainer_metrics
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.status import Status

ALERTS = CHART / "files/alerts.yaml"
ALERT_TESTS = sorted((ROOT / "tests/alerts").glob("*.yaml"))
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _tools():
    tools.ensure({"promtool", "kubeconform", "kube-score", "ct", "helm"})


def said_by(program: str, *arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Ours are found before those on PATH, also by the program (ct starts helm)."""
    environment = {**os.environ, "PATH": f"{paths.BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        [program, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120, cwd=ROOT,
        env=environment,
    )  # fmt: skip


def content_with(program: str, *arguments: object, stdin: str | None = None) -> str:
    """A program that finds nothing; what it said."""
    run = said_by(program, *arguments, stdin=stdin)
    assert run.returncode == 0, f"{program}: {run.stdout}{run.stderr}"
    return run.stdout


# --- alerts and metrics


def alert_rules() -> dict[str, str]:
    """The expression of each alert."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def operator_exposition() -> str:
    """Every family with at least one sample: promtool looks at no empty one."""
    for counter in (
        operator_metrics.RECONCILE_ERRORS.labels("ApiError"),
        operator_metrics.API_REQUESTS.labels("get", "pods", "200"),
        operator_metrics.AGENT_REQUESTS.labels("status", "ok"),
        operator_metrics.RESTARTS.labels("OutOfMemory"),
        operator_metrics.DISRUPTIONS.labels("Evicted"),
        operator_metrics.TRANSITIONS.labels("Running"),
    ):
        counter.inc()
    operator_metrics.NAMESPACE_LISTED.labels("*").set(1)
    operator_metrics.API_REQUEST_SECONDS.labels("get", "pods").observe(0.1)
    store, registry = Store("image"), CollectorRegistry()
    store.put_job(job(**a_full_status(completionTime="2026-01-01T00:00:00Z")))
    registry.register(JobCollector(store.jobs))
    both = (operator_metrics.REGISTRY, registry)
    assert [family.name for each in both for family in each.collect() if not family.samples] == []
    return "".join(generate_latest(each).decode() for each in both)


def trainer_exposition() -> str:
    meters = Meters()
    meters.gauges = dict.fromkeys(trainer_metrics._GAUGES, 1.0)
    meters.metrics, meters.gpu_memory = {"accuracy": 0.5}, [1.0]
    return trainer_metrics.exposition(meters, Status(0, 0))


def test_the_alerts_are_rules():
    content_with("promtool", "check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_the_alerts_fire_when_they_should_and_only_then():
    content_with("promtool", "test", "rules", *ALERT_TESTS)


def test_each_alert_is_tried_where_it_fires_and_where_it_is_silent():
    """And silent in a test of its own: one that waits for its `for` is silent too."""
    fires, silent = set(), set()
    for group in (group for file in ALERT_TESTS for group in yaml.safe_load(file.read_text())["tests"]):
        firing = {case["alertname"] for case in group["alert_rule_test"] if case["exp_alerts"]}
        fires |= firing
        silent |= {case["alertname"] for case in group["alert_rule_test"]} - firing
    assert fires == silent == alert_rules().keys()


def test_alerts_ask_for_series_that_the_operator_has():
    asked = set(re.findall(r"kerasjob_\w+", " ".join(alert_rules().values())))
    assert asked - set(re.findall(r"(?m)^(kerasjob_\w+)", operator_exposition())) == set()


def test_a_pod_that_looks_like_a_worker_can_tell_nothing_but_what_a_worker_tells():
    (endpoint,) = monitors()["PodMonitor"]["podMetricsEndpoints"]
    (kept,) = endpoint["metricRelabelings"]
    assert (kept["action"], kept["sourceLabels"], endpoint["honorLabels"]) == ("keep", ["__name__"], False)

    def names(text: str) -> set[str]:
        return set(re.findall(r"(?m)^(\w+)", text))

    def passing(text: str) -> set[str]:
        return {name for name in names(text) if re.fullmatch(kept["regex"], name)}

    assert passing(trainer_exposition()) == names(trainer_exposition())
    assert passing(operator_exposition()) == set()


@pytest.mark.parametrize("exposition", [operator_exposition, trainer_exposition])
def test_metrics_are_named_as_prometheus_wants_them(exposition):
    assert "kerasjob_" in exposition()
    content_with("promtool", "check", "metrics", stdin=exposition())


# --- manifests, chart and examples


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def manifests(plane) -> dict[str, str]:
    """By folder, as `kubectl apply -k` sends them."""
    folders = [file.parent.relative_to(ROOT) for file in sorted(ROOT.glob("manifests/**/kustomization.yaml"))]
    return {str(folder): plane.kubectl("kustomize", str(ROOT / folder)).stdout for folder in folders}


def chart(*options: str) -> dict[str, str]:
    """By file of values, as Helm sends it."""
    return {
        file.name: helm("template", "kerasjob", str(CHART), "-n", "kerasjob-system", f"-f={file}", *options).stdout
        for file in VALUES
    }


@pytest.fixture(scope="module")
def shipped(manifests) -> dict[str, str]:
    examples = {str(file.parent.name): file.read_text() for file in sorted(ROOT.glob("examples/*/kerasjob.yaml"))}
    return manifests | chart() | examples


# Of the Prometheus operator, whose CRDs our API server does not have.
FOREIGN_KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


def closed(schema: dict) -> dict:
    """No other fields than those that it names, at any depth: this is what a strict API server warns of."""
    below = [*schema.get("properties", {}).values(), *schema.get("allOf", ()), *schema.get("oneOf", ())]
    below += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    for child in below:
        closed(child)
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


@pytest.fixture(scope="module")
def schemas(plane, shipped, tmp_path_factory) -> Path:
    """A file per kind that we ship, from the API server's own OpenAPI; KerasJob's is what it made of our CRD."""
    folder = tmp_path_factory.mktemp("schemas")

    def served() -> dict:
        return json.loads(plane.kubectl("get", "--raw", "/openapi/v3").stdout)["paths"]

    eventually(lambda: "apis/kerasjob.dev/v1alpha1" in served())  # a while after the CRD is established
    kinds = {(d["apiVersion"], d["kind"]) for text in shipped.values() for d in documents(text)}
    for version in {version for version, kind in kinds if kind not in FOREIGN_KINDS}:
        path = served()[f"apis/{version}" if "/" in version else f"api/{version}"]["serverRelativeURL"]
        components = json.loads(plane.kubectl("get", "--raw", path).stdout)["components"]
        for schema in components["schemas"].values():
            closed(schema)
        group, _, number = version.rpartition("/")
        for name, schema in components["schemas"].items():
            for of in schema.get("x-kubernetes-group-version-kind", ()):
                if (of["group"], of["version"]) == (group, number) and (version, of["kind"]) in kinds:
                    content = {"$ref": f"#/components/schemas/{name}", "components": components}
                    file = folder / f"{version.split('/')[0]}_{number}_{of['kind'].lower()}.json"
                    file.write_text(json.dumps(content))
    return folder


def kubeconform(schemas: Path, text: str) -> list[dict]:
    """What it says of each object."""
    location = f"{schemas}/{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}_{{{{.ResourceKind}}}}.json"
    run = said_by(
        "kubeconform", "-strict", "-verbose", "-output=json", f"-schema-location={location}",
        f"-skip={','.join(FOREIGN_KINDS)}", "-", stdin=text,
    )  # fmt: skip
    return json.loads(run.stdout)["resources"]


def test_all_that_we_ship_is_as_the_api_server_has_it(schemas, shipped):
    for name, text in shipped.items():
        said = kubeconform(schemas, text)
        assert sorted((each["kind"], each["name"]) for each in said) == sorted(map(key, documents(text))), name
        refused = [each for each in said if each["status"] not in ("statusValid", "statusSkipped")]
        assert not refused, f"{name}: {refused}"
        assert {each["kind"] for each in said if each["status"] == "statusSkipped"} <= set(FOREIGN_KINDS)


@pytest.mark.parametrize(
    ("folder", "right", "wrong"),
    [
        ("manifests", "replicas: 2", "replica: 2"),
        ("manifests", "periodSeconds: 10", "periodSeconds: often"),
        ("manifests", "singular: kerasjob", "singularly: kerasjob"),
        ("manifests", "kind: ClusterRoleBinding", "kind: ClusterRoleBound"),
        ("mnist", "workers:", "worker:"),
        ("mnist", "kind: KerasJob", "kind: KerasJobs"),
    ],
)
def test_a_slip_is_found(schemas, shipped, folder, right, wrong):
    assert right in shipped[folder]
    states = {each["status"] for each in kubeconform(schemas, shipped[folder].replace(right, wrong))}
    assert states & {"statusInvalid", "statusError"}


# Advice of kube-score that is not followed, and why. All other advice is.
NOT_FOLLOWED = {
    "container-image-pull-policy": "tags of releases do not move; the chart's image.pullPolicy is for who moves them",
    "container-security-context-user-group-id": "it mounts nothing of the node, where its number may be a user's",
    "container-ephemeral-storage-request-and-limit": "it writes logs alone, and must not be evicted for them",
    "pod-networkpolicy": "who scrapes and where the API server is, the cluster knows; the chart has one for ingress",
}


def advice(text: str) -> set[str]:
    """What kube-score would have otherwise. A limit of CPU only slows the operator down; we set none."""
    said = said_by(
        "kube-score", "score", "--output-format=json", f"--kubernetes-version=v{tools.KUBERNETES}",
        "--ignore-container-cpu-limit", "--enable-optional-test=container-seccomp-profile,container-ports-check",
        "-", stdin=text,
    )  # fmt: skip
    objects = json.loads(said.stdout) or []  # of kinds that it knows: no roles, no CRD
    deployments = [document for document in documents(text) if document["kind"] == "Deployment"]
    assert len([each for each in objects if each["type_meta"]["kind"] == "Deployment"]) == len(deployments)
    checks = [check for each in objects for check in each["checks"] if not check["skipped"]]
    return {check["check"]["id"] for check in checks if check["grade"] < 10}


def test_kube_score_advises_nothing_that_we_have_no_answer_to(manifests):
    """Nor have we an answer that it does not ask for. The pod of `helm test` lives for a moment and is left out."""
    of_chart = set().union(*map(advice, chart("--skip-tests").values()))
    of_manifests = set().union(*map(advice, manifests.values()))
    assert of_chart == of_manifests == NOT_FOLLOWED.keys()


def test_chart_testing_finds_nothing():
    said = content_with("ct", "lint", "--config=ct.yaml")
    assert all(f"ci/{file.name}" in said for file in VALUES)


# --- images


def test_hadolint_finds_nothing_in_the_dockerfile():
    content_with("hadolint", "--no-color", "--failure-threshold=style", "Dockerfile")
