"""The chart: its objects are those of manifests/, and it installs, upgrades and goes without a job noticing."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.integration.control_plane import ROOT

from kerasjob_cluster import paths, tools

CHART = ROOT / "charts/kerasjob"


def helm(*arguments: str, plane=None, check: bool = True) -> subprocess.CompletedProcess[str]:
    where = () if plane is None else (f"--kubeconfig={plane.kubeconfig}",)
    run = subprocess.run(
        [paths.BIN / "helm", *where, *arguments], capture_output=True, text=True, timeout=120, cwd=CHART.parent
    )
    if check and run.returncode != 0:
        raise AssertionError(f"helm {' '.join(arguments)}: {run.stdout}{run.stderr}")
    return run


@pytest.fixture(scope="module", autouse=True)
def _helm():
    tools.ensure({"helm"})


def rendered(*options: str) -> list[dict]:
    text = helm("template", "kerasjob", str(CHART), "-n", "kerasjob-system", "--skip-tests", *options).stdout
    return [document for document in yaml.safe_load_all(text) if document]


PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def of_the_name_alone(selector: dict) -> None:
    """Without the release, of which the manifests know nothing."""
    selector["matchLabels"].pop("app.kubernetes.io/instance", None)


def plain(document: dict) -> dict:
    """An object without what Helm says of itself."""
    document = json.loads(json.dumps(document))
    metadata = document["metadata"]
    kept = {key: value for key, value in (metadata.get("labels") or {}).items() if "aggregate-to" in key}
    metadata.pop("labels", None)
    metadata.pop("annotations", None)
    if kept:
        metadata["labels"] = kept
    if document["kind"] == "PodDisruptionBudget":
        of_the_name_alone(document["spec"]["selector"])
    if document["kind"] == "Deployment":
        spec = document["spec"]
        of_the_name_alone(spec["selector"])
        for term in spec["template"]["spec"]["affinity"]["podAntiAffinity"][PREFERRED]:
            of_the_name_alone(term["podAffinityTerm"]["labelSelector"])
        spec["template"]["metadata"].pop("labels")
        container = spec["template"]["spec"]["containers"][0]
        container.pop("imagePullPolicy", None)
        container["env"] = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}
    return document


def key(document: dict) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_its_objects_are_those_of_the_manifests(plane):
    ours = yaml.safe_load_all(plane.kubectl("kustomize", str(ROOT / "manifests")).stdout)
    manifests = {key(d): plain(d) for d in ours if d["kind"] != "Namespace"}
    chart = {key(d): plain(d) for d in rendered("--set=monitoring.service.enabled=false")}
    assert manifests.keys() == chart.keys()
    environment = chart["Deployment", "kerasjob-operator"]["spec"]["template"]["spec"]["containers"][0]["env"]
    # Set by the chart to what is the default where it is not set at all.
    assert {environment.pop(f"KERASJOB_{name}") for name in ("NAMESPACES", "LOG_LEVEL", "LOG_FORMAT")} == {
        "", "INFO", "text"
    }  # fmt: skip
    assert environment.pop("KERASJOB_PROGRESS_INTERVAL_SECONDS") == "15"
    assert environment.pop("KERASJOB_RESYNC_SECONDS") == "300"
    assert environment.pop("KERASJOB_MONITORING_NAMESPACE") == "monitoring"
    for name, wanted in manifests.items():
        assert chart[name] == wanted, name


def scheduling(*options: str) -> tuple[dict, list[str]]:
    """The affinity of the operator's pods, and the budgets that there are."""
    documents = {key(d): d for d in rendered(*options)}
    affinity = documents["Deployment", "kerasjob-operator"]["spec"]["template"]["spec"]["affinity"]
    return affinity, [name for kind, name in documents if kind == "PodDisruptionBudget"]


def test_replicas_prefer_nodes_of_their_own_where_no_affinity_is_given():
    affinity, budgets = scheduling("--set=replicas=3")
    (term,) = affinity["podAntiAffinity"][PREFERRED]
    # Those of this release: another one beside it is as good a neighbour as any.
    assert term["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {
            "matchLabels": {
                "app.kubernetes.io/name": "kerasjob-operator", "app.kubernetes.io/instance": "kerasjob"
            }
        },
    }  # fmt: skip
    assert budgets == ["kerasjob-operator"]
    theirs = {"nodeAffinity": {PREFERRED: []}}
    assert scheduling(f"--set-json=affinity={json.dumps(theirs)}")[0] == theirs


def test_one_replica_alone_may_be_evicted():
    assert scheduling("--set=replicas=1")[1] == []


def test_lint_finds_nothing():
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART)).stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--set=replica=3", "additional properties 'replica' not allowed"),
        ("--set=replicas=0", "replicas"),
        ("--set=logLevel=LOUD", "logLevel"),
        ("--set=watch.namespaces={Team_A}", "watch"),
        ("--set-string=progressIntervalSeconds=soon", "progressIntervalSeconds"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_path(option, words):
    run = helm("template", "kerasjob", str(CHART), option, check=False)
    assert run.returncode != 0
    assert words in run.stderr


def test_with_a_list_of_namespaces_there_is_nothing_of_the_cluster():
    kinds = {d["kind"] for d in rendered("--set=watch.namespaces={team-a,team-b}", "--set=crds.install=false")}
    assert not {kind for kind in kinds if kind.startswith(("Cluster", "CustomResource"))}
    assert roles_by_namespace("--set=watch.namespaces={team-a,team-b}") == {
        "kerasjob-system": {"kerasjob-operator-own"},
        "team-a": {"kerasjob-operator", "kerasjob-edit", "kerasjob-view"},
        "team-b": {"kerasjob-operator", "kerasjob-edit", "kerasjob-view"},
    }
    alone = roles_by_namespace("--set=watch.namespaces={team-a}", "--set=rbac.aggregate=false")
    assert alone["team-a"] == {"kerasjob-operator"}


def roles_by_namespace(*options: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for document in rendered(*options):
        if document["kind"] == "Role":
            found.setdefault(document["metadata"]["namespace"], set()).add(document["metadata"]["name"])
    return found


def test_users_may_do_the_same_with_jobs_by_a_role_as_by_a_cluster_role():
    roles = {
        key(d): d["rules"] for d in rendered("--set=watch.namespaces={team-a}") if "Role" in d["kind"] and "rules" in d
    }
    cluster = {key(d): d["rules"] for d in rendered() if d["kind"] == "ClusterRole"}
    for name in ("kerasjob-edit", "kerasjob-view"):
        assert roles["Role", name] == cluster["ClusterRole", name]


def with_the_test(*options: str) -> dict[tuple[str, str], dict]:
    text = helm("template", "kerasjob", str(CHART), "-n", "kerasjob-system", *options).stdout
    return {key(d): d for d in yaml.safe_load_all(text) if d}


def test_the_metrics_are_for_the_monitoring_where_a_network_policy_is_asked_for():
    made = with_the_test("--set=networkPolicy.enabled=true", "--set=monitoring.namespace=prometheus")
    (rule,) = made["NetworkPolicy", "kerasjob-operator"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]
    monitoring, test = rule["from"]
    assert monitoring == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prometheus"}}}
    labels = made["Pod", "kerasjob-test-health"]["metadata"]["labels"]
    assert test["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_pod_of_helm_test_is_no_operator_and_goes_where_operators_go():
    made = with_the_test("--set=nodeSelector.pool=system", '--set-json=tolerations=[{"operator":"Exists"}]')
    pod = made["Pod", "kerasjob-test-health"]
    assert (pod["spec"]["nodeSelector"], pod["spec"]["tolerations"]) == ({"pool": "system"}, [{"operator": "Exists"}])
    selector = made["Service", "kerasjob-operator"]["spec"]["selector"]
    assert not selector.items() <= pod["metadata"]["labels"].items(), "the Service would lead to it"


def test_there_is_no_test_where_there_is_no_service_to_ask():
    assert ("Pod", "kerasjob-test-health") not in with_the_test("--set=monitoring.service.enabled=false")


def test_what_a_platform_team_sets_is_there():
    values = {
        "imagePullSecrets": [{"name": "registry"}],
        "commonLabels": {"team": "ml"},
        "extraEnv": [{"name": "A", "value": "1"}],
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "high",
        "networkPolicy": {"enabled": True},
        "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "podMonitor", "prometheusRule")},
    }
    options = [f"--set-json={name}={json.dumps(value)}" for name, value in values.items()]
    documents = {key(d): d for d in rendered(*options)}
    assert all(d["metadata"]["labels"]["team"] == "ml" for d in documents.values())
    pod = documents["Deployment", "kerasjob-operator"]["spec"]["template"]["spec"]
    assert (pod["imagePullSecrets"], pod["priorityClassName"]) == ([{"name": "registry"}], "high")
    assert {"name": "A", "value": "1"} in pod["containers"][0]["env"]
    kinds = {kind for kind, _ in documents}
    assert {
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    } <= kinds
    groups = documents["PrometheusRule", "kerasjob"]["spec"]["groups"]
    assert "KerasJobStalled" in {rule["alert"] for rule in groups[0]["rules"]}


def monitors(*options: str) -> dict[str, dict]:
    """The specs of the objects of the Prometheus operator, by kind, of a release in team-ops."""
    enabled = [f"--set=monitoring.{name}.enabled=true" for name in ("serviceMonitor", "podMonitor", "prometheusRule")]
    text = helm("template", "two", str(CHART), "-n", "team-ops", "--skip-tests", *enabled, *options).stdout
    kinds = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
    return {d["kind"]: d["spec"] for d in yaml.safe_load_all(text) if d and d["kind"] in kinds}


def expressions(rules: dict) -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in rules["groups"][0]["rules"]}


@pytest.mark.parametrize(
    ("options", "label"), [((), "team-ops/kerasjob-operator"), (("--set=monitoring.jobLabel=mine",), "mine")]
)
def test_alerts_of_a_release_hear_its_own_operators_alone(options, label):
    made = monitors(*options)
    (endpoint,) = made["ServiceMonitor"]["endpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": label}]
    for alert, expression in expressions(made["PrometheusRule"]).items():
        selectors = re.findall(r"kerasjob_\w+(\{[^}]*\})?", expression.replace(label, "LABEL"))
        assert selectors, alert
        assert all('job="LABEL"' in selector for selector in selectors), alert


def test_the_resync_and_no_other_number_decides_when_an_operator_is_deaf():
    usual = expressions(monitors()["PrometheusRule"])
    slow = expressions(monitors("--set=resyncSeconds=1800")["PrometheusRule"])
    assert usual["KerasJobOperatorDeaf"].endswith("> 1200")
    # Its liveness probe waits for three times as long and a minute.
    assert slow.pop("KerasJobOperatorDeaf").endswith("> 5700")
    assert slow.items() < usual.items()


def test_a_service_monitor_without_the_service_is_refused_in_words():
    run = helm(
        "template", "kerasjob", str(CHART), "--set=monitoring.serviceMonitor.enabled=true",
        "--set=monitoring.service.enabled=false", check=False,
    )  # fmt: skip
    assert run.returncode != 0
    assert "monitoring.serviceMonitor.enabled: needs monitoring.service.enabled" in run.stderr


class StrictLoader(yaml.SafeLoader):
    """YAML says a key once; PyYAML takes the last one of several."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(name, deep=True) for name, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"said twice, of {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def strictly(text: str) -> dict[tuple[str, str], dict]:
    return {key(d): d for d in yaml.load_all(text, StrictLoader) if d}


def test_what_is_said_twice_is_found():
    with pytest.raises(yaml.constructor.ConstructorError, match="said twice"):
        strictly("{kind: A, metadata: {name: a, labels: {b: c, d: e, b: f}}}")


VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
# As a release has them where nothing is set.
OWN_LABELS = {
    "app.kubernetes.io/name": "kerasjob-operator",
    "app.kubernetes.io/instance": "kerasjob",
    "app.kubernetes.io/version": VERSION,
    "app.kubernetes.io/managed-by": "Helm",
    "helm.sh/chart": f"kerasjob-{VERSION}",
}


def test_labels_and_annotations_that_the_chart_has_as_well_are_said_once_and_the_values_win():
    common = {
        "app.kubernetes.io/name": "other",
        "app.kubernetes.io/instance": "other",
        "app.kubernetes.io/version": "common",
        "helm.sh/chart": "",
        "rbac.authorization.k8s.io/aggregate-to-edit": "false",
        "team": "ml",
        "tier": "common",
    }
    pod = {"app.kubernetes.io/name": "pod", "app.kubernetes.io/version": "pod", "tier": "pod"}
    of_monitor = {"app.kubernetes.io/instance": "prometheus", "tier": "monitor", "helm.sh/chart": "monitor"}
    monitors = ("serviceMonitor", "podMonitor", "prometheusRule", "dashboards")
    values = {
        "commonLabels": common,
        "podLabels": pod,
        "podAnnotations": {"prometheus.io/scrape": "false", "prometheus.io/path": "", "sidecar": "none"},
        "networkPolicy": {"enabled": True},
        "monitoring": {name: {"enabled": True, "labels": of_monitor} for name in monitors},
    }
    options = [f"--set-json={name}={json.dumps(value)}" for name, value in values.items()]
    documents = strictly(helm("template", "kerasjob", str(CHART), "-n", "kerasjob-system", *options).stdout)

    selector = {name: OWN_LABELS[name] for name in ("app.kubernetes.io/name", "app.kubernetes.io/instance")}
    everywhere = {**OWN_LABELS, **common, **selector}
    own = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}
    assert {kind for kind, _ in documents} > own
    for (kind, name), document in documents.items():
        labels = document["metadata"]["labels"]
        if kind in own:
            grafana = {"grafana_dashboard": "1"} if kind == "ConfigMap" else {}
            assert labels == {**everywhere, **of_monitor, **grafana}, name
        else:
            # Two roles have labels of their own beside these, and the pod of `helm test` is no operator.
            own_name = {"app.kubernetes.io/name": "kerasjob-test"} if kind == "Pod" else {}
            assert {key: labels.get(key) for key in everywhere} == everywhere | own_name, name
    aggregated = documents["ClusterRole", "kerasjob-edit"]["metadata"]["labels"]
    assert aggregated["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"

    deployment = documents["Deployment", "kerasjob-operator"]["spec"]
    assert deployment["template"]["metadata"] == {
        "labels": {**everywhere, **pod, **selector},
        "annotations": {
            "prometheus.io/scrape": "false", "prometheus.io/path": "", "prometheus.io/port": "8080", "sidecar": "none"
        },
    }  # fmt: skip
    selecting = [
        deployment["selector"]["matchLabels"],
        documents["Service", "kerasjob-operator"]["spec"]["selector"],
        documents["ServiceMonitor", "kerasjob-operator"]["spec"]["selector"]["matchLabels"],
        documents["PodDisruptionBudget", "kerasjob-operator"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy", "kerasjob-operator"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert selecting == [selector] * len(selecting)


def test_a_release_may_have_a_number_for_a_name():
    """A label that is no string is refused by the API server."""
    for document in strictly(helm("template", "2026", str(CHART)).stdout).values():
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == "2026"


def test_it_installs_upgrades_its_crd_and_goes_and_jobs_stay(plane, operator, tmp_path: Path):
    """Without a node its pods do not run; what is tried is what the API server is asked for."""
    for team in ("helm-one", "helm-two", "grafana"):
        plane.kubectl("create", "namespace", team)

    def install(team: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        dashboards = ("--set=monitoring.dashboards.enabled=true", "--set=monitoring.dashboards.namespace=grafana")
        watch = f"--set=watch.namespaces={{{team}}}"
        return helm("install", team, str(CHART), "-n", team, watch, *dashboards, *options, plane=plane, check=check)

    install("helm-one", "--take-ownership")  # of the CRD, which kubectl has made here
    for options in ((), ("--set=crds.install=false",)):
        refused = install("helm-two", *options, check=False)
        assert refused.returncode != 0
        assert "exists and cannot be imported into the current release" in refused.stderr
        helm("uninstall", "helm-two", "-n", "helm-two", "--ignore-not-found", plane=plane)
    # As docs/operations.md has it: what there can be once in a cluster is the first one's.
    install("helm-two", "--set=crds.install=false", "--set=monitoring.dashboards.enabled=false")
    job = {
        "apiVersion": "kerasjob.dev/v1alpha1",
        "kind": "KerasJob",
        "metadata": {"name": "kept", "namespace": "helm-one"},
        "spec": {"program": {"source": "pass"}, "suspend": True},
    }
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(job))
    uid = plane.kubectl("get", "kj/kept", "-n", "helm-one", "-o", "jsonpath={.metadata.uid}").stdout

    newer = tmp_path / "kerasjob"
    subprocess.run(["cp", "-r", str(CHART), str(newer)], check=True)
    crd = newer / "files/kerasjobs.yaml"
    crd.write_text(crd.read_text().replace("description: Number of worker pods.", "description: How many pods."))
    # What kubectl has applied before is taken over; where Helm was there first no such word is needed.
    helm(
        "upgrade", "helm-one", str(newer), "-n", "helm-one", "--set=watch.namespaces={helm-one}", "--force-conflicts",
        plane=plane,
    )  # fmt: skip
    schema = plane.kubectl("get", "crd/kerasjobs.kerasjob.dev", "-o", "json").stdout
    assert "How many pods." in schema
    for team in ("helm-one", "helm-two"):
        helm("uninstall", team, "-n", team, plane=plane)
    assert plane.kubectl("get", "kj/kept", "-n", "helm-one", "-o", "jsonpath={.metadata.uid}").stdout == uid
    plane.kubectl("apply", "-k", str(ROOT / "manifests"))
    plane.kubectl("delete", "kj/kept", "-n", "helm-one")
    plane.kubectl("delete", "namespace", "helm-one", "helm-two", "grafana", "--wait=false")
