"""The objects of a job, as data. Pure: the same job gives the same objects. Used by the body."""

from __future__ import annotations

import json
import posixpath
from typing import Any

import orjson

from kerasjob_api import constants as c
from kerasjob_api import names
from kerasjob_api.codec import to_wire
from kerasjob_api.constants import Label
from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.spec_storage import S3, Data, Storage
from kerasjob_core.observed import JobRef
from kerasjob_core.worker_config import worker_config
from kerasjob_operator.overlay import merge

USER = 1000
SHM_BYTES = "1Gi"
NODE_LOSS_SECONDS = 10
# What Pod Security "restricted" asks for.
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
CONFIG_FILE = "worker.json"
POD_FILE = "pod.json"


def labels(ref: JobRef) -> dict[str, str]:
    """On every object of the job."""
    return {Label.JOB: ref.name, Label.JOB_UID: ref.uid, Label.MANAGED_BY: Label.MANAGED_BY_VALUE}


def metadata(ref: JobRef, name: str) -> dict[str, Any]:
    """Names an object and gives it to the job: deleting the job deletes it."""
    owner = {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "name": ref.name,
        "uid": ref.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # true would need the right to set the owner's finalizers
    }
    return {"name": name, "namespace": ref.namespace, "labels": labels(ref), "ownerReferences": [owner]}


def service(ref: JobRef) -> dict[str, Any]:
    """The headless service: a name for each worker, before it is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(ref, names.service_name(ref.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {Label.JOB: ref.name, Label.JOB_UID: ref.uid},
            "ports": [{"name": "agent", "port": c.AGENT_PORT, "targetPort": c.AGENT_PORT}],
        },
    }


def network_policy(ref: JobRef, operator_namespace: str, monitoring_namespace: str) -> dict[str, Any]:
    """TensorFlow's servers authenticate nobody: only workers of the job reach them; the agent also the operator and
    the monitoring.
    """
    same_job = {"podSelector": {"matchLabels": {Label.JOB: ref.name, Label.JOB_UID: ref.uid}}}
    by_name = "kubernetes.io/metadata.name"
    others = [
        {"namespaceSelector": {"matchLabels": {by_name: namespace}}}
        for namespace in dict.fromkeys((operator_namespace, monitoring_namespace))
    ]
    agent = {"protocol": "TCP", "port": c.AGENT_PORT}
    ring = {"protocol": "TCP", "port": c.TF_PORT_BASE, "endPort": c.TF_PORT_BASE + c.TF_PORT_SPAN - 1}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(ref, ref.name),
        "spec": {
            "podSelector": same_job["podSelector"],
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [same_job], "ports": [agent, ring]}, {"from": others, "ports": [agent]}],
        },
    }


def pod_group(ref: JobRef, spec: KerasJobSpec) -> dict[str, Any]:
    """The gang: so many of the workers get nodes at once, or none does. The scheduler wants its priority to be the
    pods'."""
    group: dict[str, Any] = {"schedulingPolicy": {"gang": {"minCount": spec.gang_size}}}
    priority = ((spec.pod_template or {}).get("spec") or {}).get("priorityClassName")
    if priority is not None:
        group["priorityClassName"] = priority
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": metadata(ref, names.pod_group_name(ref.name)),
        "spec": group,
    }


def token_secret(ref: JobRef, token: str) -> dict[str, Any]:
    """The job's token, by which agents know the operator."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(ref, names.secret_name(ref.name, ref.uid)),
        "type": "Opaque",
        "stringData": {c.TOKEN_KEY: token},
    }


def with_storage(spec: KerasJobSpec, endpoint: str, region: str, secret_name: str) -> KerasJobSpec:
    """The spec with the installation's S3, where it says nothing of S3 itself."""
    given = {"endpoint": endpoint or None, "region": region or None, "secret_name": secret_name or None}
    if spec.storage.s3 != S3() or not any(given.values()):
        return spec
    return spec.model_copy(update={"storage": Storage(s3=S3(**given))})


def plan(ref: JobRef, spec: KerasJobSpec, image: str, seed: int, log_format: str = "text") -> dict[str, Any]:
    """What the job is started with, pinned: the workers' configuration and the pod."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(ref, names.plan_name(ref.name)),
        "immutable": True,
        "data": {
            CONFIG_FILE: json.dumps(to_wire(worker_config(ref, spec, seed)), indent=1),
            POD_FILE: json.dumps(pod_template(ref, spec, image, log_format), indent=1),
        },
    }


def pod(ref: JobRef, template: str, slot: int, incarnation: int) -> dict[str, Any]:
    """The pod of one incarnation, from the pinned template, which is JSON: to read it again is the fastest copy."""
    name = names.pod_name(ref.name, slot, incarnation)
    body: dict[str, Any] = orjson.loads(template)
    extra = body.get("metadata") or {}
    body["metadata"] = metadata(ref, name)
    body["metadata"]["annotations"] = extra.get("annotations") or {}
    body["metadata"]["labels"] = {
        **(extra.get("labels") or {}),
        **labels(ref),
        Label.SLOT: str(slot),
        Label.INCARNATION: str(incarnation),
    }
    body["spec"] |= {"hostname": name, "subdomain": names.service_name(ref.name)}
    for container in body["spec"]["containers"]:
        if container["name"] == c.CONTAINER_NAME:
            container["env"] = [
                *(container.get("env") or []),
                {"name": "KERASJOB_SLOT", "value": str(slot)},
                {"name": "KERASJOB_INCARNATION", "value": str(incarnation)},
            ]
    return body


def pod_template(ref: JobRef, spec: KerasJobSpec, image: str, log_format: str) -> dict[str, Any]:
    """The pod but for slot and incarnation: restricted by default, the user's overlay on top."""
    all_volumes, mounts = volumes(ref, spec)
    container: dict[str, Any] = {
        "name": c.CONTAINER_NAME,
        "image": image,
        "command": ["python", "-m", "kerasjob_trainer.agent"],
        "env": [*environment(log_format), *spec.env],
        "envFrom": list(spec.env_from),
        "ports": [{"name": "agent", "containerPort": c.AGENT_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": c.AGENT_PORT},
            "periodSeconds": 1,
            # Ready is said at once; an agent that is slow for a second on a busy node is not unready.
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "resources": {key: value for key, value in spec.resources.model_dump().items() if value},
        "volumeMounts": mounts,
        "securityContext": CONTAINER_SECURITY,
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    pod_spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": all_volumes,
        "imagePullSecrets": list(spec.image_pull_secrets),
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [*spec.tolerations, *_node_loss_tolerations(spec)],
    }
    if spec.service_account_name is not None:
        pod_spec["serviceAccountName"] = spec.service_account_name
    if spec.gang_size is not None:
        pod_spec["schedulingGroup"] = {"podGroupName": names.pod_group_name(ref.name)}
    scrape = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(c.AGENT_PORT),
        "prometheus.io/path": "/metrics",
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": scrape}, "spec": pod_spec}
    # `spec:` with nothing below it takes nothing away.
    overlay = {key: value for key, value in (spec.pod_template or {}).items() if value is not None}
    merged: dict[str, Any] = merge(body, overlay)
    return merged


def _node_loss_tolerations(spec: KerasJobSpec) -> list[dict[str, Any]]:
    """Kubernetes waits five minutes before it takes pods from a node that it has found dead, new ones too that it put
    there before it found out. A ring stands still for as long, and a pod that is taken without need costs seconds."""
    given = {toleration.get("key") for toleration in spec.tolerations}
    return [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS_SECONDS}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        if key not in given and None not in given
    ]


def environment(log_format: str) -> list[dict[str, Any]]:
    """Where a container of ours finds what is its own, and how it speaks."""
    return [
        *([{"name": "KERASJOB_LOG_FORMAT", "value": log_format}] if log_format != "text" else []),
        {"name": "KERASJOB_CONFIG", "value": f"{c.CONFIG_DIR}/{CONFIG_FILE}"},
        {"name": "KERASJOB_CODE_DIR", "value": c.CODE_DIR},
        {"name": "KERASJOB_TOKEN_FILE", "value": f"{c.TOKEN_DIR}/{c.TOKEN_KEY}"},
        {"name": "KERASJOB_S3_DIR", "value": c.S3_DIR},
        {"name": "KERASJOB_WORK_DIR", "value": c.WORK_DIR},
        {"name": "KERASJOB_POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HOME", "value": c.WORK_DIR},
    ]


def volumes(ref: JobRef, spec: KerasJobSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts: ours, then the user's."""
    # One projected volume: a mount inside another read-only one could not make its directory.
    sources: list[dict[str, Any]] = [
        {"configMap": {"name": names.plan_name(ref.name), "items": [{"key": CONFIG_FILE, "path": CONFIG_FILE}]}}
    ]
    made: list[dict[str, Any]] = [
        {"name": "kerasjob-config", "projected": {"sources": sources}},
        {"name": "kerasjob-token", "secret": {"secretName": names.secret_name(ref.name, ref.uid)}},
        {"name": "kerasjob-work", "emptyDir": {}},
        {"name": "kerasjob-tmp", "emptyDir": {}},
        # NCCL and TensorFlow's data pipelines share memory here; the runtime's default of 64 MiB is too small.
        {"name": "kerasjob-shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_BYTES}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "kerasjob-config", "mountPath": c.CONFIG_DIR, "readOnly": True},
        {"name": "kerasjob-token", "mountPath": c.TOKEN_DIR, "readOnly": True},
        {"name": "kerasjob-work", "mountPath": c.WORK_DIR},
        {"name": "kerasjob-tmp", "mountPath": "/tmp"},
        {"name": "kerasjob-shm", "mountPath": "/dev/shm"},
    ]
    if spec.program.code is not None:
        # Optional, so that the agent can say that it is missing instead of a pod that hangs in ContainerCreating.
        made.append({"name": "kerasjob-code", "configMap": {"name": spec.program.code.config_map, "optional": True}})
        mounts.append({"name": "kerasjob-code", "mountPath": c.CODE_DIR, "readOnly": True})
    if spec.storage.s3.secret_name is not None:
        made.append({"name": "kerasjob-s3", "secret": {"secretName": spec.storage.s3.secret_name, "optional": True}})
        mounts.append({"name": "kerasjob-s3", "mountPath": c.S3_DIR, "readOnly": True})
    writable = [posixpath.normpath(str(mount.get("mountPath"))) for mount in spec.volume_mounts]
    for index, path in enumerate(_data_directories(spec, [*writable, c.WORK_DIR, "/tmp"])):
        made.append({"name": f"kerasjob-data-{index}", "emptyDir": {}})
        mounts.append({"name": f"kerasjob-data-{index}", "mountPath": path})
    return [*made, *spec.volumes], [*mounts, *spec.volume_mounts]


def _data_directories(spec: KerasJobSpec, writable: list[str]) -> list[str]:
    """Directories to be made writable for `spec.data`: the paths, or their parents where they are files'."""
    directories: list[str] = []
    for path in sorted(_directory_of(item) for item in spec.data):
        if not any(path == place or path.startswith(f"{place}/") for place in (*writable, *directories)):
            directories.append(path)
    return directories


def _directory_of(item: Data) -> str:
    """An object that is brought to a path with a suffix is a file: /data/mnist.npz wants /data. Else it is the path."""
    path = posixpath.normpath(item.path)
    is_file = not item.uri.endswith("/") and not item.path.endswith("/") and "." in posixpath.basename(path)
    parent = posixpath.dirname(path)
    return parent if is_file and parent != "/" else path
