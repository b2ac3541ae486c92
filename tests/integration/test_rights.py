"""What the operator may do is what it did in the tests before this one, and nothing that it asked for was denied."""

import json

import yaml
from tests.integration.control_plane import ROOT

MANIFESTS = ROOT / "manifests"
USER = "system:serviceaccount:kerasjob-system:kerasjob-operator"


def rules(file: str, kinds: tuple[str, ...] = ("Role", "ClusterRole")) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of the roles of the operator in a manifest."""
    found = set()
    for document in yaml.safe_load_all((MANIFESTS / file).read_text()):
        if document["kind"] in kinds and document["metadata"]["name"].startswith("kerasjob-operator"):
            for rule in document["rules"]:
                resources = [(group, resource) for group in rule["apiGroups"] for resource in rule["resources"]]
                found |= {(*resource, verb) for resource in resources for verb in rule["verbs"]}
    return found


def requests(plane, user: str) -> list[tuple[tuple[str, str, str], bool]]:
    """What a user asked of the API server, by its audit log, and whether it was denied."""
    found = []
    for line in plane.audit_log.read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] == user and "objectRef" in event:
            ref = event["objectRef"]
            resource = "/".join(part for part in (ref.get("resource"), ref.get("subresource")) if part)
            denied = event.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
            found.append(((ref.get("apiGroup", ""), resource, event["verb"]), denied))
    return found


def test_the_rights_are_those_that_were_used(plane, operator):
    asked = requests(plane, USER)
    assert [what for what, denied in asked if denied] == []
    shipped = rules("base/rbac.yaml") | rules("deployment/rbac.yaml")
    assert shipped - {what for what, _ in asked} == set()


def test_in_one_namespace_they_are_the_same():
    assert rules("namespaced/rbac.yaml", ("Role",)) == rules("base/rbac.yaml", ("ClusterRole",))
    everything = [*yaml.safe_load_all((MANIFESTS / "namespaced/rbac.yaml").read_text())]
    everything += yaml.safe_load_all((MANIFESTS / "deployment/rbac.yaml").read_text())
    assert not [document for document in everything if document["kind"].startswith("Cluster")]
