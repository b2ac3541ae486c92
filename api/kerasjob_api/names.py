"""Deterministic names of everything that belongs to a job."""

from __future__ import annotations

import re

# A child's name is `<job>-<slot>-<incarnation>` and must stay a DNS-1035 label of at most 63 characters.
JOB_NAME_MAX = 46
JOB_NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


def is_job_name(name: str) -> bool:
    """Whether every child of a job with this name gets a valid name."""
    return len(name) <= JOB_NAME_MAX and re.match(JOB_NAME_PATTERN, name) is not None


def pod_name(job: str, slot: int, incarnation: int) -> str:
    """The pod of one incarnation of a slot. A successor has a new name, so that two can never be mixed up."""
    return f"{job}-{slot}-{incarnation}"


def service_name(job: str) -> str:
    """The headless service, by which pods are found before they report an address."""
    return job


def pod_group_name(job: str) -> str:
    """The PodGroup, where the workers are a gang."""
    return job


def secret_name(job: str, uid: str) -> str:
    """The Secret with the per-job token.

    Nobody may read it, so its name must say whose it is: that of an earlier job of this name may still be there.
    """
    return f"{job}-token-{uid[:8]}"


def plan_name(job: str) -> str:
    """The immutable ConfigMap that pins what the job was started with."""
    return f"{job}-plan"


def host_port(host: str, port: int) -> str:
    """An address for URLs and for TensorFlow, of either family."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tensorboard_name(job: str) -> str:
    """Deployment, Service and NetworkPolicy of the job's TensorBoard."""
    return f"{job}-tensorboard"
