"""Pods as records: what each piece of evidence in a pod's status becomes."""

import json

import pytest

from kerasjob_core.observed import Endpoint, PodPhase
from kerasjob_operator import pods


def pod(labels=None, **status):
    labels = {"kerasjob.dev/slot": "1", "kerasjob.dev/incarnation": "2"} if labels is None else labels
    return {
        "metadata": {"name": "m-1-2", "uid": "u", "labels": labels},
        "spec": {"nodeName": "node-1"},
        "status": status,
    }


def test_a_running_pod():
    worker = pods.worker(pod(phase="Running", podIP="10.0.0.1", conditions=[{"type": "Ready", "status": "True"}]))
    assert worker is not None
    assert (worker.slot, worker.incarnation, worker.phase, worker.ready) == (1, 2, PodPhase.RUNNING, True)
    assert worker.endpoint == Endpoint("10.0.0.1", 8470, 8480)
    assert worker.node == "node-1"


def test_a_pod_without_our_labels_is_none_of_ours():
    assert pods.worker(pod(labels={})) is None
    assert pods.worker(pod(labels={"kerasjob.dev/slot": "x", "kerasjob.dev/incarnation": "0"})) is None


def ended(code, message="", reason="Error"):
    return [{"state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]


def test_a_termination_message_of_ours_is_read():
    text = json.dumps({"reason": "UserError", "message": "no", "file": "a.py", "line": 3})
    exit_ = pods.worker(pod(phase="Failed", containerStatuses=ended(10, text))).exit
    assert (exit_.code, exit_.record.file, exit_.message) == (10, "a.py", "")


def test_a_strangers_termination_message_stays_text():
    exit_ = pods.worker(pod(phase="Failed", containerStatuses=ended(1, "Killed\n"))).exit
    assert (exit_.record, exit_.message) == (None, "Killed")


@pytest.mark.parametrize("text", ["[" * 4000, '{"reason":' * 400, "null", "7"])
def test_whatever_a_program_leaves_as_its_last_word_is_text(text):
    exit_ = pods.worker(pod(phase="Failed", containerStatuses=ended(1, text))).exit
    assert (exit_.record, exit_.message) == (None, text)


def test_out_of_memory_keeps_the_kubelets_reason():
    exit_ = pods.worker(pod(phase="Failed", containerStatuses=ended(137, reason="OOMKilled"))).exit
    assert (exit_.code, exit_.reason) == (137, "OOMKilled")


def test_a_pod_that_failed_before_a_container_was_made_says_why():
    exit_ = pods.worker(pod(phase="Failed", reason="UnexpectedAdmissionError", message="no gpu")).exit
    assert exit_.message == "UnexpectedAdmissionError: no gpu"


@pytest.mark.parametrize(
    ("message", "expected"),
    [("Eviction by the API", "EvictionByEvictionAPI"), ("used up its ephemeral local storage", None)],
)
def test_only_the_clusters_own_evictions_are_disruptions(message, expected):
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": message}
    assert pods.worker(pod(phase="Running", conditions=[condition])).disruption == expected


def test_waiting_reasons():
    def waiting(reason):
        return pods.worker(
            pod(phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": reason, "message": "m"}}}])
        ).waiting

    assert waiting("ImagePullBackOff").reason == "ImagePullBackOff"
    assert waiting("ContainerCreating") is None
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    assert pods.worker(pod(phase="Pending", conditions=[unschedulable])).waiting.message == "0/2 nodes"
