"""Pods as the small records that the brain reads. Pure; called by the store."""

from __future__ import annotations

from typing import Any

from kerasjob_api.constants import AGENT_PORT, TF_PORT_BASE, Label
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
    phase = status.get("phase", "Pending")
    ip = status.get("podIP")
    return Worker(
        name=metadata["name"],
        uid=metadata["uid"],
        slot=slot,
        incarnation=incarnation,
        phase=PodPhase(phase) if phase in list(PodPhase) else PodPhase.PENDING,
        ready=_condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        endpoint=Endpoint(ip, AGENT_PORT, TF_PORT_BASE) if ip else None,
        exit=_exit(status) if phase in (PodPhase.SUCCEEDED, PodPhase.FAILED) else None,
        waiting=_waiting(status),
        node=(pod.get("spec") or {}).get("nodeName", ""),
        deletion_due=from_rfc3339(metadata["deletionTimestamp"]) if "deletionTimestamp" in metadata else None,
        disruption=_disruption(status),
        report=known.report if known is not None else None,
        silent_since=known.silent_since if known is not None else None,
    )


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


def _exit(status: dict[str, Any]) -> Exit:
    """How the pod ended; of several containers the one that failed."""
    ended = [c["state"]["terminated"] for c in _containers(status) if "terminated" in (c.get("state") or {})]
    if not ended:
        # Evicted or refused by the kubelet before a container was made: only the pod says why.
        succeeded = status.get("phase") == PodPhase.SUCCEEDED
        words = ": ".join(part for part in (status.get("reason"), status.get("message")) if part)
        return Exit(0 if succeeded else 137, reason=status.get("reason", ""), message=words)
    bad = [t for t in ended if t.get("exitCode", 0) != 0]
    terminated = bad[0] if bad else ended[-1]
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
