"""The TensorBoard beside a job, as data: a Deployment, a Service and a NetworkPolicy. Pure. Used by the body.

It reads what the first worker puts into the store, and so shows a job also when its workers are gone.
"""

from __future__ import annotations

from typing import Any

from kerasjob_api import constants as c
from kerasjob_api import names
from kerasjob_api.constants import Label
from kerasjob_api.spec import KerasJobSpec
from kerasjob_core.observed import JobRef
from kerasjob_operator import render

COMMAND = ["python", "-m", "kerasjob_trainer.board"]


def deployment(ref: JobRef, spec: KerasJobSpec, image: str, log_format: str = "text") -> dict[str, Any]:
    """One pod with the job's image, restricted as a worker is."""
    assert spec.tensor_board is not None
    probe = {"tcpSocket": {"port": c.TENSORBOARD_PORT}, "periodSeconds": 5, "timeoutSeconds": 3}
    volumes, mounts = _volumes(ref, spec)
    overlay = (spec.pod_template or {}).get("spec") or {}
    container: dict[str, Any] = {
        "name": "tensorboard",
        "image": image,
        "command": COMMAND,
        "env": [*render.environment(log_format), *spec.env],
        "envFrom": list(spec.env_from),
        "ports": [{"name": "http", "containerPort": c.TENSORBOARD_PORT}],
        "readinessProbe": probe,
        "resources": {key: value for key, value in spec.tensor_board.resources.model_dump().items() if value},
        "volumeMounts": mounts,
        "securityContext": render.CONTAINER_SECURITY,
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": render.POD_SECURITY,
        "containers": [container],
        "volumes": volumes,
        # What the workers need to be let onto nodes. Where on them they are to be is for accelerators, not for this.
        "imagePullSecrets": [*spec.image_pull_secrets, *(overlay.get("imagePullSecrets") or [])],
        "tolerations": [*spec.tolerations, *(overlay.get("tolerations") or [])],
    }
    if spec.service_account_name is not None:
        pod["serviceAccountName"] = spec.service_account_name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": render.metadata(ref, names.tensorboard_name(ref.name)),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _labels(ref)},
            "template": {"metadata": {"labels": _labels(ref)}, "spec": pod},
        },
    }


def service(ref: JobRef) -> dict[str, Any]:
    """What `kubectl port-forward`, or an Ingress, leads to."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": render.metadata(ref, names.tensorboard_name(ref.name)),
        "spec": {
            "selector": _labels(ref),
            "ports": [{"name": "http", "port": c.TENSORBOARD_PORT, "targetPort": "http"}],
        },
    }


def network_policy(ref: JobRef) -> dict[str, Any]:
    """TensorBoard asks nobody who they are: pods of the job's namespace reach it. Another policy can let in others."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": render.metadata(ref, names.tensorboard_name(ref.name)),
        "spec": {
            "podSelector": {"matchLabels": _labels(ref)},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": c.TENSORBOARD_PORT}]},
            ],
        },
    }


def _labels(ref: JobRef) -> dict[str, str]:
    # Not those of workers: services and policies of the ring must not take it for one.
    return {Label.TENSORBOARD: ref.name, Label.JOB_UID: ref.uid}


def _volumes(ref: JobRef, spec: KerasJobSpec) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What it needs of a worker's: the configuration, the keys, room to write; and the user's: one may be the store."""
    ours = {"kerasjob-config", "kerasjob-s3", "kerasjob-work", "kerasjob-tmp"} | {v.get("name") for v in spec.volumes}
    volumes, mounts = render.volumes(ref, spec)
    return [v for v in volumes if v["name"] in ours], [m for m in mounts if m["name"] in ours]
