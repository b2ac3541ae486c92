"""Pods as the small records that the brain reads. Pure; called by the store."""

from __future__ import annotations

from typing import Any

from kerasjob_api.constants import AGENT_PORT, CONTAINER_NAME, KIND, TF_PORT_BASE, Label
from kerasjob_api.wire import FailureRecord
from kerasjob_core.observed import Endpoint, Exit, PodPhase, Waiting, Worker
from kerasjob_core.times import from_rfc3339

# Reasons of `waiting` that only say "not yet".
NORMAL_WAITING = ("ContainerCreating", "PodInitializing")
EVICTED_BY_ITSELF = "ephemeral"  # the kubelet's words where a pod used up its own local storage


def worker(pod: dict[str, Any], known: Worker | None = None) -> Worker | None:
    """The record of a pod; None where it has no labels of ours that can be read. `known`: the one before, which has
    what its agent says."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    try:
        slot, incarnation = int(labels[Label.SLOT]), int(labels[Label.INCARNATION])
    except (KeyError, ValueError):
        return None
    pod_phase = status.get("phase")
    pod_has_ended = pod_phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)
    trainer = _terminated(_trainer(status))
    exit_ = _exit(status, trainer) if trainer is not None or pod_has_ended else None
    ip = status.get("podIP")
    return Worker(
        name=metadata["name"],
        uid=metadata["uid"],
        slot=slot,
        incarnation=incarnation,
        phase=_phase(pod_phase, exit_),
        ready=_is_ready(status),
        deleting="deletionTimestamp" in metadata,
        endpoint=Endpoint(ip, AGENT_PORT, TF_PORT_BASE) if ip else None,
        exit=exit_,
        lingers=exit_ is not None and not pod_has_ended,
        waiting=_waiting(status),
        node=(pod.get("spec") or {}).get("nodeName", ""),
        deletion_due=from_rfc3339(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        disruption=_disruption(status),
        report=known.report if known is not None else None,
        silent_since=known.silent_since if known is not None else None,
    )


def job_of(body: dict[str, Any]) -> tuple[str, str] | None:
    """Namespace and name of the job that a pod belongs to."""
    name = (body["metadata"].get("labels") or {}).get(Label.JOB)
    return (body["metadata"]["namespace"], name) if name else None


def owner(metadata: dict[str, Any]) -> str:
    """The uid of the job that owns a pod: labels can be copied, an owner is checked by the garbage collector."""
    owners = metadata.get("ownerReferences") or []
    return next((str(owner["uid"]) for owner in owners if owner.get("kind") == KIND), "")


def is_being_made(pod: dict[str, Any]) -> bool:
    """Whether it has a node, which has not got it ready for containers yet: that is, volumes, and a network."""
    status = pod.get("status") or {}
    has_node = bool((pod.get("spec") or {}).get("nodeName")) and "deletionTimestamp" not in pod["metadata"]
    is_early = status.get("phase", "Pending") == PodPhase.PENDING
    return has_node and is_early and _condition(status, "PodReadyToStartContainers").get("status") != "True"


def _condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions") or [] if c.get("type") == type_), {})


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _trainer(status: dict[str, Any]) -> dict[str, Any]:
    """The container whose end is the worker's. What is beside it, a user's sidecar or a mesh's, ends when it likes."""
    return next((c for c in status.get("containerStatuses") or [] if c.get("name") == CONTAINER_NAME), {})


def _terminated(container: dict[str, Any]) -> dict[str, Any] | None:
    return (container.get("state") or {}).get("terminated")


def _phase(of_pod: str | None, exit_: Exit | None) -> PodPhase:
    if exit_ is not None:
        return PodPhase.SUCCEEDED if exit_.code == 0 else PodPhase.FAILED
    return PodPhase.RUNNING if of_pod == PodPhase.RUNNING else PodPhase.PENDING


def _is_ready(status: dict[str, Any]) -> bool:
    """As the pod is; one that is unready only because something beside the trainer has ended is ready."""
    condition = _condition(status, "Ready")
    if condition.get("status") == "True":
        return True
    containers = status.get("containerStatuses") or []
    others = [c for c in containers if c.get("name") != CONTAINER_NAME]
    return (
        condition.get("reason") == "ContainersNotReady"
        and bool(_trainer(status).get("ready"))
        and all(c.get("ready") or _terminated(c) is not None for c in others)
    )


def _exit(status: dict[str, Any], trainer: dict[str, Any] | None) -> Exit:
    """How the worker ended: as its trainer did; where that never began, as what failed before it."""
    before = [t for c in status.get("initContainerStatuses") or [] if (t := _terminated(c)) is not None]
    terminated = trainer or next((t for t in before if t.get("exitCode", 0) != 0), None)
    if terminated is None:
        # Evicted, refused by the kubelet, or given up with its node: only the pod says why.
        succeeded = status.get("phase") == PodPhase.SUCCEEDED
        words = ": ".join(part for part in (status.get("reason"), status.get("message")) if part)
        return Exit(0 if succeeded else 137, reason=status.get("reason", ""), message=words)
    text = terminated.get("message", "")
    record = FailureRecord.from_message(text)
    return Exit(
        code=int(terminated.get("exitCode", 0)),
        reason=terminated.get("reason", ""),
        record=record,
        message="" if record is not None else text.strip(),
    )


def _waiting(status: dict[str, Any]) -> Waiting | None:
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in NORMAL_WAITING:
            return Waiting(waiting.get("reason", ""), waiting.get("message", ""))
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        return Waiting(scheduled.get("reason", ""), scheduled.get("message", ""))
    return None


def _disruption(status: dict[str, Any]) -> str | None:
    """The reason of a condition that says the cluster took the pod away; not where the pod itself is to blame."""
    for type_ in ("DisruptionTarget", "TerminationTarget"):
        condition = _condition(status, type_)
        if condition.get("status") == "True":
            if EVICTED_BY_ITSELF in condition.get("message", "").lower():
                return None
            return str(condition.get("reason", type_))
    return None
