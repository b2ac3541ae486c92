"""What `spec.podTemplate` may not set: things by which the operator finds and runs its pods.

Called by `validate`. The overlay itself is merged where pods are rendered; the API server checks the result's fields.
"""

from __future__ import annotations

import difflib
from typing import Any

from kerasjob_api.constants import CONTAINER_NAME, GROUP

# What the operator relies on, or what would break a worker's isolation.
RESERVED_POD = {
    "restartPolicy": "the operator restarts workers itself",
    "hostname": "pods are named by the operator",
    "subdomain": "pods are named by the operator",
    "schedulingGroup": "gangs are made by the operator",
    "hostNetwork": "workers are isolated from the node",
    "hostPID": "workers are isolated from the node",
    "hostIPC": "workers are isolated from the node",
}
RESERVED_CONTAINER = {
    "command": "the agent is the pod's first process",
    "args": "use spec.program.args",
    "name": "",
}
POD_FIELDS = [
    "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy",
    "enableServiceLinks", "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers",
    "hostname", "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "os", "overhead",
    "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims", "resources",
    "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates", "schedulingGroup", "securityContext",
    "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
]  # fmt: skip


def template_faults(template: dict[str, Any]) -> list[str]:
    """What is wrong with an overlay, each with its path."""
    faults = [
        f"spec.podTemplate.{key}: unknown field; known here: metadata, spec"
        for key in template
        if key not in ("metadata", "spec")
    ]
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        return [*faults, "spec.podTemplate: metadata and spec must be objects"]
    for key in metadata:
        if key not in ("labels", "annotations"):
            faults.append(f"spec.podTemplate.metadata.{key}: only labels and annotations can be set")
    for label in metadata.get("labels") or {}:
        if str(label).startswith(f"{GROUP}/"):
            faults.append(f"spec.podTemplate.metadata.labels.{label}: labels of {GROUP} are the operator's")
    for key, value in spec.items():
        path = f"spec.podTemplate.spec.{key}"
        if key in RESERVED_POD:
            faults.append(f"{path}: cannot be set: {RESERVED_POD[key]}")
        elif key not in POD_FIELDS:
            near = difflib.get_close_matches(key, POD_FIELDS, n=1)
            faults.append(f"{path}: unknown field" + (f"; did you mean {near[0]!r}?" if near else ""))
        elif key == "containers":
            faults += _container_faults(value, path)
    return faults


def _container_faults(containers: Any, path: str) -> list[str]:
    faults = []
    if not isinstance(containers, list) or not all(isinstance(c, dict) for c in containers):
        return [f"{path}: expected a list of objects"]
    for index, container in enumerate(containers):
        if "name" not in container:
            faults.append(f"{path}[{index}].name: required: containers merge by name")
        elif container["name"] == CONTAINER_NAME:
            faults += [
                f"{path}[{index}].{key}: cannot be set: {why}"
                for key, why in RESERVED_CONTAINER.items()
                if why and key in container
            ]
    return faults
