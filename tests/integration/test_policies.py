"""What each policy of the spec does, on a real API server."""

import json
import time
from datetime import datetime

import pytest
from tests.integration.conftest import eventually, failure, start
from tests.integration.test_operator import is_deleting


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def finish(jobs, kubelet, name: str, **spec) -> dict:
    """A job that has succeeded; its other worker still runs."""
    jobs.apply(name, **spec)
    jobs.wait_for_pods(f"{name}-0-0")
    kubelet.end(f"{name}-0-0", 0, failure(reason="Done"))
    return jobs.wait(name, ".status.phase", "Succeeded")


# suspend.


def test_a_job_is_suspended_and_resumed(jobs, kubelet, plane):
    start(jobs, kubelet, "pause", 100)
    jobs.apply("pause", suspend=True)
    status = jobs.wait("pause", ".status.phase", "Suspended")["status"]
    assert (status["restarts"], status["disruptions"]) == (0, 0)
    for slot in range(2):
        plane.kubectl("wait", f"pod/pause-{slot}-0", "--for=delete", "--timeout=20s")
    assert "activeSince" not in jobs.get("pause")["status"]
    kubelet.close()
    jobs.apply("pause", suspend=False)
    jobs.wait_for_pods("pause-0-1", "pause-1-1")
    for slot in range(2):
        kubelet.run(f"pause-{slot}-1", f"127.0.1.{102 + slot}")
    jobs.wait("pause", ".status.ring.revision", "2")
    status = jobs.wait("pause", ".status.phase", "Running")["status"]
    assert (status["restarts"], status["disruptions"], status["baseIncarnation"]) == (0, 0, 1)


def test_a_job_that_is_made_suspended_has_nothing_until_it_is_resumed(jobs):
    jobs.apply("later", suspend=True)
    jobs.wait("later", ".status.phase", "Suspended")
    assert jobs.children("later") == set()
    jobs.apply("later", suspend=False, env=[{"name": "A", "value": "1"}])
    jobs.wait_for_pods("later-0-0", "later-1-0")
    assert not any(c["type"] == "SpecChangeIgnored" for c in jobs.get("later")["status"]["conditions"])


# The end.


def test_a_job_goes_when_its_time_is_over_and_not_before(jobs, kubelet, plane):
    job = finish(jobs, kubelet, "brief", ttlSecondsAfterFinished=2)
    ended = seconds(job["status"]["completionTime"])
    plane.kubectl("wait", "kj/brief", "--for=delete", "--timeout=20s")
    assert 2 <= time.time() - ended < 8
    # The garbage collector learns of a new kind of object within half a minute.
    eventually(lambda: not {child for child in jobs.children("brief") if not child.startswith("pod/")}, 60)


def test_a_time_that_is_set_after_the_end_counts_from_the_end(jobs, kubelet, plane):
    finish(jobs, kubelet, "tidy")
    jobs.apply("tidy", ttlSecondsAfterFinished=0)
    plane.kubectl("wait", "kj/tidy", "--for=delete", "--timeout=20s")


@pytest.mark.parametrize(
    ("policy", "left"), [("Running", {"0"}), ("All", set()), ("None", {"0", "1"})], ids=["running", "all", "none"]
)
def test_clean_pod_policy_says_which_pods_stay(jobs, kubelet, plane, policy, left):
    name = f"clean-{policy.lower()}"
    finish(jobs, kubelet, name, cleanPodPolicy=policy)

    def pods():
        names = plane.kubectl("get", "pods", "-l", f"kerasjob.dev/job={name}", "-o", "name").stdout.split()
        return {pod.split("-")[-2] for pod in names}

    eventually(lambda: pods() == left)
    if policy == "None":
        assert not is_deleting(plane, f"{name}-1-0")


def test_with_success_policy_all_the_job_waits_for_all(jobs, kubelet):
    start(jobs, kubelet, "all", 110, successPolicy="All")
    kubelet.end("all-0-0", 0, failure(reason="Done"))
    jobs.wait("all", ".status.workers.succeeded", "1")
    assert jobs.get("all")["status"]["phase"] == "Running"
    kubelet.end("all-1-0", 0, failure(reason="Done"))
    jobs.wait("all", ".status.phase", "Succeeded")


def test_the_pod_of_a_worker_that_is_done_may_be_collected(jobs, kubelet, plane):
    leader, _ = start(jobs, kubelet, "tidy", 170)
    kubelet.end("tidy-1-0", 0)
    jobs.wait("tidy", ".status.workers.succeeded", "1")
    plane.kubectl("delete", "pod", "tidy-1-0", "--force", "--grace-period=0")
    leader.report = leader.report | {"progress": {"call": 0, "epoch": 2, "epochs": 5, "step": 1}}
    jobs.wait("tidy", ".status.display.epoch", "2/5")  # it was looked at since
    kubelet.end("tidy-0-0", 0, failure(reason="Done"))
    status = jobs.wait("tidy", ".status.phase", "Succeeded")["status"]
    assert (status["disruptions"], status["ring"]["revision"]) == (0, 1)
    assert (status["workers"]["ready"], status["workers"]["succeeded"], status["workers"]["done"]) == (0, 2, [0, 1])


# Time.


def test_a_deadline_ends_the_job(jobs):
    jobs.apply("late", activeDeadlineSeconds=2)
    status = jobs.wait("late", ".status.phase", "Failed")["status"]
    assert status["lastFailure"]["reason"] == "DeadlineExceeded"
    assert seconds(status["completionTime"]) - seconds(status["startTime"]) >= 2


# failurePolicy.


def test_a_rule_gives_another_try_and_one_ends_the_job(jobs, kubelet):
    rules = [
        {"action": "Ignore", "onExitCodes": {"values": [10]}, "onMessage": "licen[cs]e"},
        {"action": "FailJob", "onReasons": ["OutOfMemory"], "onWorkers": [1]},
    ]
    start(jobs, kubelet, "ruled", 120, failurePolicy={"maxRestarts": 5, "backoffSeconds": 0, "rules": rules})
    kubelet.end("ruled-1-0", 10, failure(reason="UserError", exceptionType="OSError", message="no licence left"))
    jobs.wait_for_pods("ruled-1-1")
    status = jobs.get("ruled")["status"]
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert status["lastFailure"]["message"] == "OSError: no licence left"
    kubelet.run("ruled-1-1", "127.0.1.125")
    jobs.wait("ruled", ".status.ring.revision", "2")
    kubelet.end("ruled-1-1", 137, reason="OOMKilled")
    status = jobs.wait("ruled", ".status.phase", "Failed")["status"]
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert "(spec.failurePolicy.rules[1]: FailJob)" in failed["message"]
    assert [f["exitCode"] for f in status["failures"]] == [10, 137]


def test_losses_in_a_row_are_waited_out_and_the_budget_ends_it(jobs, kubelet):
    jobs.apply("again-and-again", workers=1, failurePolicy={"maxRestarts": 2, "backoffSeconds": 1})
    waits = []
    for incarnation in range(3):
        jobs.wait_for_pods(f"again-and-again-0-{incarnation}")
        kubelet.end(f"again-and-again-0-{incarnation}", 137)
        if incarnation < 2:
            job = jobs.wait("again-and-again", ".status.restarts", str(incarnation + 1))
            waits.append("retryAt" in job["status"]["losses"])
    status = jobs.wait("again-and-again", ".status.phase", "Failed")["status"]
    assert waits == [False, True]
    assert next(c for c in status["conditions"] if c["type"] == "Failed")["reason"] == "MaxRestartsExceeded"


def test_a_pod_that_is_evicted_is_a_disruption(jobs, kubelet, plane):
    start(jobs, kubelet, "moved", 130, failurePolicy={"maxRestarts": 0})
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}
    kubelet.patch("moved-1-0", phase="Failed", conditions=[target], reason="Preempting", message="by a pod")
    jobs.wait_for_pods("moved-1-1")
    status = jobs.get("moved")["status"]
    assert (status["restarts"], status["disruptions"]) == (0, 1)
    assert "PreemptionByScheduler" in status["lastFailure"]["message"]


def test_a_rule_restarts_for_all_but_some_exit_codes(jobs, kubelet):
    rule = {"action": "RestartJob", "onExitCodes": {"operator": "NotIn", "values": [3]}}
    start(jobs, kubelet, "flaky", 150, failurePolicy={"maxRestarts": 5, "backoffSeconds": 0, "rules": [rule]})
    kubelet.end("flaky-1-0", 10, failure(reason="UserError", exceptionType="OSError", message="try again"))
    jobs.wait_for_pods("flaky-1-1")
    assert jobs.get("flaky")["status"]["restarts"] == 1
    kubelet.run("flaky-1-1", "127.0.1.155")
    jobs.wait("flaky", ".status.ring.revision", "2")
    kubelet.end("flaky-1-1", 3)
    jobs.wait("flaky", ".status.phase", "Failed")


def test_too_many_disruptions_without_a_step_end_the_job(jobs, kubelet):
    jobs.apply("tossed", workers=1, failurePolicy={"maxDisruptions": 1, "backoffSeconds": 0})
    target = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}
    for incarnation in range(2):
        jobs.wait_for_pods(f"tossed-0-{incarnation}")
        kubelet.patch(f"tossed-0-{incarnation}", phase="Failed", conditions=[target], reason="Preempting")
    status = jobs.wait("tossed", ".status.phase", "Failed")["status"]
    assert next(c for c in status["conditions"] if c["type"] == "Failed")["reason"] == "MaxDisruptionsExceeded"


def test_where_there_is_no_room_the_schedulers_words_are_shown(jobs, kubelet):
    jobs.apply("roomless")
    jobs.wait_for_pods("roomless-0-0")
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    kubelet.patch("roomless-0-0", phase="Pending", conditions=[scheduled])
    status = jobs.wait("roomless", '.status.conditions[?(@.type=="Problem")].status', "True", 15)["status"]
    assert words in next(c for c in status["conditions"] if c["type"] == "Problem")["message"]


def test_an_elastic_job_begins_with_those_that_can_be_had(jobs, kubelet):
    jobs.apply("partly", elastic={"minWorkers": 1, "waitSeconds": 1})
    jobs.wait_for_pods("partly-0-0", "partly-1-0")
    agent = kubelet.run("partly-0-0", "127.0.1.160")
    jobs.wait("partly", ".status.ring.revision", "1")
    eventually(lambda: [len(ring["members"]) for ring in agent.rings] == [1])


# managedBy, and the size of a job.


def test_a_job_of_another_controller_is_not_touched(jobs):
    jobs.apply("theirs", managedBy="kueue.x-k8s.io/multikueue")
    jobs.apply("ours", managedBy="kerasjob.dev/operator")
    jobs.wait_for_pods("ours-0-0")
    assert "status" not in jobs.get("theirs")
    assert jobs.children("theirs") == set()
    run = jobs.apply("theirs", check=False, managedBy="kerasjob.dev/operator")
    assert "spec.managedBy cannot change after the job was created" in run.stderr


def test_an_elastic_job_is_scaled_with_kubectl(jobs, kubelet, plane):
    agents = start(jobs, kubelet, "wide", 140, elastic={"minWorkers": 1})
    scale = json.loads(plane.kubectl("get", "kj", "wide", "-o", "json").stdout)["status"]["selector"]
    assert plane.kubectl("get", "pods", "-l", scale, "-o", "name").stdout.split() == ["pod/wide-0-0", "pod/wide-1-0"]
    plane.kubectl("scale", "kj/wide", "--replicas=1")
    jobs.wait("wide", ".status.ring.revision", "2")
    eventually(lambda: [ring["revision"] for ring in agents[0].rings] == [1, 2])
    assert (len(agents[0].rings[1]["members"]), agents[0].rings[1]["afterStep"]) == (1, True)
    plane.kubectl("wait", "pod/wide-1-0", "--for=delete", "--timeout=20s")
    jobs.wait("wide", ".status.phase", "Running")
    plane.kubectl("scale", "kj/wide", "--replicas=2")
    jobs.wait_for_pods("wide-1-1")
    kubelet.run("wide-1-1", "127.0.1.145")
    status = jobs.wait("wide", ".status.ring.revision", "3")["status"]
    assert (status["restarts"], status["disruptions"]) == (0, 0)


# What is read once, and what is wrong.


def test_a_change_that_has_no_effect_is_said(jobs):
    jobs.apply("pinned-env")
    jobs.wait_for_pods("pinned-env-0-0", "pinned-env-1-0")
    jobs.apply("pinned-env", env=[{"name": "A", "value": "1"}])
    jobs.wait("pinned-env", '.status.conditions[?(@.type=="SpecChangeIgnored")].status', "True")
    jobs.apply("pinned-env")
    jobs.wait("pinned-env", '.status.conditions[?(@.type=="SpecChangeIgnored")].status', "False")


def test_what_the_server_refuses_can_be_mended(jobs):
    jobs.apply("mended", env=[{"name": "A", "valeu": "1"}])
    job = jobs.wait("mended", ".status.phase", "Invalid")
    assert "valeu" in next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")["message"]
    assert jobs.children("mended") == set()
    jobs.apply("mended", env=[{"name": "A", "value": "1"}])
    jobs.wait_for_pods("mended-0-0", "mended-1-0")
    jobs.wait("mended", ".status.phase", "Pending")


def test_what_is_wrong_with_rules_is_said_by_the_server_or_in_the_status(jobs):
    cases = {
        "a rule needs at least one of onExitCodes, onReasons, onWorkers and onMessage": {"action": "Ignore"},
        "spec.failurePolicy.rules[0].action: Unsupported value": {"action": "Retry", "onWorkers": [0]},
        "spec.failurePolicy.rules[0].onReasons[0]: Unsupported value": {"action": "Ignore", "onReasons": ["Oops"]},
        "spec.failurePolicy.rules[0].onExitCodes.values[0]: Invalid value": {
            "action": "Ignore",
            "onExitCodes": {"values": [0]},
        },
    }
    for words, rule in cases.items():
        run = jobs.apply("misruled", check=False, failurePolicy={"rules": [rule]})
        assert run.returncode != 0, words
        assert words in run.stderr
    jobs.apply("misruled", failurePolicy={"rules": [{"action": "Ignore", "onMessage": "("}]})
    job = jobs.wait("misruled", ".status.phase", "Invalid")
    message = next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")["message"]
    assert "spec.failurePolicy.rules[0].onMessage: not a pattern of RE2: missing )" in message


def test_a_job_that_runs_goes_on_after_an_edit_with_faults(jobs, kubelet, plane):
    rule = {"action": "Ignore", "onWorkers": [1]}
    start(jobs, kubelet, "edited", 150, elastic={"minWorkers": 1}, failurePolicy={"rules": [rule]})
    plane.kubectl("scale", "kj/edited", "--replicas=1")  # the rule may name the worker that leaves
    jobs.wait("edited", ".status.ring.revision", "2")
    bad = {"action": "FailJob", "onMessage": "("}
    jobs.apply("edited", workers=1, elastic={"minWorkers": 1}, failurePolicy={"rules": [rule, bad]})
    job = jobs.wait("edited", '.status.conditions[?(@.type=="Invalid")].status', "True")
    assert job["status"]["phase"] != "Invalid"
    kubelet.end("edited-0-0", 0, failure(reason="Done"))
    jobs.wait("edited", ".status.phase", "Succeeded")


def test_the_server_refuses_values_that_cannot_be(jobs):
    cases = {
        "spec.activeDeadlineSeconds: Invalid value": {"activeDeadlineSeconds": 0},
        "spec.ttlSecondsAfterFinished: Invalid value": {"ttlSecondsAfterFinished": -1},
        "spec.cleanPodPolicy: Unsupported value": {"cleanPodPolicy": "Some"},
        "spec.successPolicy: Unsupported value": {"successPolicy": "Most"},
        "spec.managedBy: Invalid value": {"managedBy": "me"},
        "spec.scheduling.gang: Unsupported value": {"scheduling": {"gang": "Some"}},
        "spec.failurePolicy.maxDisruptions: Invalid value": {"failurePolicy": {"maxDisruptions": -1}},
    }
    for words, spec in cases.items():
        run = jobs.apply("impossible", check=False, **spec)
        assert run.returncode != 0, words
        assert words in run.stderr


def test_an_event_that_is_repeated_is_counted(jobs, kubelet, plane):
    """Each round of these says the same: the spec changed in vain."""
    jobs.apply("chatty")
    jobs.wait_for_pods("chatty-0-0", "chatty-1-0")
    path = '.status.conditions[?(@.type=="SpecChangeIgnored")].status'
    for _ in range(2):
        jobs.apply("chatty", env=[{"name": "A", "value": "1"}])
        jobs.wait("chatty", path, "True")
        jobs.apply("chatty")
        jobs.wait("chatty", path, "False")

    def counts():
        selector = "involvedObject.name=chatty,reason=PinnedAtTheStart"
        return plane.kubectl("get", "events", "--field-selector", selector, "-o", "jsonpath={.items[*].count}").stdout

    eventually(lambda: counts() == "2")
