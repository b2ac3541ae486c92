"""What `spec.podTemplate` may not set: things by which the operator finds and runs its pods.

Called by `validate`. The overlay itself is merged where pods are rendered; the API server checks the result's fields.
"""

from __future__ import annotations

import difflib
from typing import Any

from kerasjob_api.constants import CONTAINER_NAME, GROUP
from kerasjob_core.core_objects import KEYS, list_faults, text_map_faults

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
    metadata, spec = ({} if template.get(name) is None else template[name] for name in ("metadata", "spec"))
    for name, value in (("metadata", metadata), ("spec", spec)):
        if not isinstance(value, dict):
            faults.append(f"spec.podTemplate.{name}: expected an object, got {value!r:.80}")
    if isinstance(metadata, dict):
        faults += _metadata_faults(metadata)
    if isinstance(spec, dict):
        faults += _pod_faults(spec)
    return faults


def _metadata_faults(metadata: dict[str, Any]) -> list[str]:
    faults = []
    for key, value in metadata.items():
        path = f"spec.podTemplate.metadata.{key}"
        if key not in ("labels", "annotations"):
            faults.append(f"{path}: only labels and annotations can be set")
            continue
        faults += text_map_faults(value, path)
        if key == "labels" and isinstance(value, dict):
            ours = [label for label in value if str(label).startswith(f"{GROUP}/")]
            faults += [f"{path}.{label}: labels of {GROUP} are the operator's" for label in ours]
    return faults


def _pod_faults(spec: dict[str, Any]) -> list[str]:
    faults = []
    for key, value in spec.items():
        path = f"spec.podTemplate.spec.{key}"
        if key in RESERVED_POD:
            faults.append(f"{path}: cannot be set: {RESERVED_POD[key]}")
        elif key not in POD_FIELDS:
            near = difflib.get_close_matches(str(key), POD_FIELDS, n=1)
            faults.append(f"{path}: unknown field" + (f"; did you mean {near[0]!r}?" if near else ""))
        elif key in KEYS:
            faults += list_faults(key, value, path)
            if key == "containers":
                faults += _container_faults(value, path)
    return faults


def _container_faults(containers: Any, path: str) -> list[str]:
    if containers is None:
        return [f"{path}: cannot be taken away: the trainer is one of them"]
    faults = []
    for index, container in enumerate(containers if isinstance(containers, list) else []):
        if not isinstance(container, dict):
            continue
        if container.get("name") is None:
            faults.append(f"{path}[{index}].name: required: containers merge by name")
        elif container["name"] == CONTAINER_NAME:
            faults += [
                f"{path}[{index}].{key}: cannot be set: {why}"
                for key, why in RESERVED_CONTAINER.items()
                if why and key in container
            ]
    return faults
