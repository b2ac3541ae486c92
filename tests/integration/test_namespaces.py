"""An operator of several namespaces, of which one is taken away from it."""

import json
import re

import pytest
import yaml
from tests.integration.conftest import eventually
from tests.integration.control_plane import ROOT, Operator

# The operator's own rights first; in each watched namespace those of one.
OWN = """
apiVersion: v1
kind: Namespace
metadata: {name: two-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: kerasjob-operator, namespace: two-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: own, namespace: two-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: kerasjob-operator, namespace: two-system}]
"""


def grant(plane, namespace: str) -> None:
    role, _ = yaml.safe_load_all((ROOT / "manifests/namespaced/rbac.yaml").read_text())
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "kerasjob-operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kerasjob-operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "kerasjob-operator", "namespace": "two-system"}],
    }
    plane.kubectl("create", "namespace", namespace)
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all([role, binding]))


def make_job(plane, namespace: str, name: str) -> None:
    job = {
        "apiVersion": "kerasjob.dev/v1alpha1",
        "kind": "KerasJob",
        "metadata": {"name": name},
        "spec": {"program": {"source": "pass"}},
    }
    plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(job))


def phase(plane, namespace: str, name: str) -> str:
    return plane.kubectl("get", "kj", name, "-n", namespace, "-o", "jsonpath={.status.phase}").stdout


def listed(operator: Operator) -> dict[str, float]:
    found = re.findall(r'(?m)^kerasjob_namespace_listed\{namespace="(.*)"\} (\S+)$', operator.get("/metrics"))
    return {namespace: float(value) for namespace, value in found}


@pytest.fixture
def two(plane):
    plane.kubectl("apply", "-f", "-", stdin=OWN)
    for namespace in ("team-a", "team-b"):
        grant(plane, namespace)
    settings = {"KERASJOB_NAMESPACES": "team-a,team-b", "KERASJOB_NAMESPACE": "two-system"}
    operator = Operator(plane, "two-system", KERASJOB_RESYNC_SECONDS="2", **settings)
    operator.start()
    yield operator
    operator.kill()
    plane.kubectl("delete", "namespace", "team-a", "team-b", "two-system", "--wait=false")


def test_a_namespace_that_cannot_be_listed_takes_no_other_down(plane, two):
    make_job(plane, "team-b", "first")
    eventually(lambda: phase(plane, "team-b", "first") == "Pending")
    plane.kubectl("delete", "role", "kerasjob-operator", "-n", "team-b")
    eventually(lambda: listed(two) == {"team-a": 1, "team-b": 0})
    make_job(plane, "team-a", "while")
    eventually(lambda: phase(plane, "team-a", "while") == "Pending")
    assert two.get("/healthz") == "ok"
    two.kill()
    two.start()  # it is ready, and works
    make_job(plane, "team-a", "after")
    eventually(lambda: phase(plane, "team-a", "after") == "Pending")
    assert "jobs of team-b could not be listed" in two.log.read_text()
    role, _ = yaml.safe_load_all((ROOT / "manifests/namespaced/rbac.yaml").read_text())
    plane.kubectl("apply", "-n", "team-b", "-f", "-", stdin=yaml.safe_dump(role))
    make_job(plane, "team-b", "again")
    eventually(lambda: phase(plane, "team-b", "again") == "Pending")
    eventually(lambda: listed(two) == {"team-a": 1, "team-b": 1})
    assert two.stop() == 0
    two.start()
