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


def ended(code, message="", reason="Error", name="trainer"):
    return [{"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]


RUNS = {"name": "mesh", "state": {"running": {}}, "ready": True}


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


@pytest.mark.parametrize(("code", "phase"), [(0, PodPhase.SUCCEEDED), (10, PodPhase.FAILED)])
def test_a_worker_has_ended_once_its_trainer_has_though_something_beside_it_runs_on(code, phase):
    worker = pods.worker(pod(phase="Running", containerStatuses=[RUNS, *ended(code)]))
    assert (worker.phase, worker.exit.code, worker.lingers) == (phase, code, True)
    over = pods.worker(pod(phase="Failed", containerStatuses=[*ended(143, name="mesh"), *ended(code)]))
    assert (over.phase, over.exit.code, over.lingers) == (phase, code, False)


def test_what_ended_beside_the_trainer_hides_nothing_of_its_words():
    text = json.dumps({"reason": "UserError", "message": "no", "file": "a.py", "line": 3})
    exit_ = pods.worker(pod(phase="Failed", containerStatuses=[*ended(2, "bye", name="mesh"), *ended(10, text)])).exit
    assert (exit_.code, exit_.record.file) == (10, "a.py")


def test_where_the_trainer_never_began_what_failed_before_it_says_why():
    waits = [{"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}]
    before = [*ended(0, name="first"), *ended(3, "no such bucket", name="second")]
    worker = pods.worker(pod(phase="Failed", initContainerStatuses=before, containerStatuses=waits))
    assert (worker.phase, worker.exit.code, worker.exit.message) == (PodPhase.FAILED, 3, "no such bucket")


def test_a_pod_that_was_given_up_with_its_node_did_not_end_as_something_beside_the_trainer_did():
    runs = {"name": "trainer", "state": {"running": {}}}
    status = {"phase": "Failed", "reason": "NodeLost", "containerStatuses": [*ended(2, name="mesh"), runs]}
    assert pods.worker(pod(**status)).exit.code == 137


@pytest.mark.parametrize(
    ("trainer_is_ready", "beside", "reason", "ready"),
    [
        (True, ended(2, name="log"), "ContainersNotReady", True),
        (False, ended(2, name="log"), "ContainersNotReady", False),
        (True, [RUNS | {"ready": False}], "ContainersNotReady", False),
        (True, [RUNS], "", False),  # as on a node that is not ready
    ],
)
def test_a_worker_is_ready_though_something_beside_its_trainer_has_ended(trainer_is_ready, beside, reason, ready):
    condition = {"type": "Ready", "status": "False", "reason": reason}
    trainer = {"name": "trainer", "state": {"running": {}}, "ready": trainer_is_ready}
    worker = pods.worker(pod(phase="Running", conditions=[condition], containerStatuses=[trainer, *beside]))
    assert worker.ready == ready


def test_waiting_reasons():
    def waiting(reason):
        return pods.worker(
            pod(phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": reason, "message": "m"}}}])
        ).waiting

    assert waiting("ImagePullBackOff").reason == "ImagePullBackOff"
    assert waiting("ContainerCreating") is None
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    assert pods.worker(pod(phase="Pending", conditions=[unschedulable])).waiting.message == "0/2 nodes"
