"""The operator against a real API server, with its own service account: the life of a job, faults, restarts, rights."""

import json
import re
import subprocess
import sys
import time

import pytest
from tests.integration.conftest import created, eventually, failure, start
from tests.integration.control_plane import Operator

RECIPE = {
    "data": {"train": {"npz": {"file": "x.npz", "features": "x", "labels": "z"}}},
    "model": {"layers": ["Flatten", {"Dense": {"units": 1, "kernel_initializer": {"HeNormal": {"seed": 1}}}}]},
    "compile": {"optimizer": {"Adam": {"learning_rate": 0.01}}, "loss": "mse"},
}


def test_a_job_is_created_trains_and_succeeds(jobs, kubelet, plane):
    leader, other = start(jobs, kubelet, "good", 10, seed=5)
    uid = jobs.get("good")["metadata"]["uid"]
    assert jobs.children("good") == {
        "pod/good-0-0", "pod/good-1-0", "service/good", "configmap/good-plan", f"secret/good-token-{uid[:8]}",
        "networkpolicy.networking.k8s.io/good",
    }  # fmt: skip
    ring = jobs.get("good")["status"]["ring"]
    assert (ring["revision"], [m["host"] for m in ring["members"]]) == (1, [leader.host, other.host])
    assert [m["port"] for m in leader.rings[0]["members"]] == [8481, 8481]
    assert len(leader.tokens) == 1
    assert leader.tokens == other.tokens
    leader.report = leader.report | {
        "progress": {"call": 0, "epoch": 2, "epochs": 5, "step": 7, "steps": 9, "totalStep": 16, "etaSeconds": 61.0,
                     "metrics": [{"name": "loss", "value": "0.25"}]},
    }  # fmt: skip
    job = jobs.wait("good", ".status.display.epoch", "2/5")
    assert job["status"]["display"] == {
        "workers": "2/2", "epoch": "2/5", "step": "7/9", "loss": "0.25", "eta": "1m01s"
    }  # fmt: skip
    kubelet.end("good-0-0", 0, failure(reason="Done"))
    job = jobs.wait("good", ".status.phase", "Succeeded")
    assert job["status"]["resolved"]["seed"] == 5
    assert (job["status"]["restarts"], job["status"]["disruptions"]) == (0, 0)
    assert job["status"]["completionTime"] >= job["status"]["startTime"]
    table = plane.kubectl("get", "kj", "good").stdout
    assert "Succeeded" in table
    assert "2/5" in table
    events = plane.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").stdout.split()
    assert {"Created", "RingFormed", "ProgramSucceeded"} <= set(events)


def test_the_pods_of_a_job_are_admitted_under_the_restricted_level(jobs, plane):
    plane.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    try:
        jobs.apply("restricted", data=[{"uri": "s3://bucket/x/", "path": "/data"}])
        jobs.wait_for_pods("restricted-0-0", "restricted-1-0")
        jobs.apply("root", podTemplate={"spec": {"securityContext": {"runAsNonRoot": False}}})
        job = jobs.wait("root", ".status.phase", "Invalid")
        invalid = next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")
        assert invalid["reason"] == "PodRejected"
        assert 'violates PodSecurity "restricted:latest"' in invalid["message"]
    finally:
        plane.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")


def test_a_programs_own_error_fails_the_job_in_the_users_words(jobs, kubelet):
    start(jobs, kubelet, "bad", 20)
    record = failure(reason="UserError", exceptionType="ValueError", message="no such class", file="train.py", line=12)
    kubelet.end("bad-1-0", 10, record)
    status = jobs.wait("bad", ".status.phase", "Failed")["status"]
    assert status["lastFailure"]["message"] == "ValueError: no such class (train.py:12)"
    assert (status["lastFailure"]["exitCode"], status["lastFailure"]["pod"]) == (10, "bad-1-0")
    assert (status["restarts"], status["disruptions"]) == (0, 0)
    jobs.plane.kubectl(
        "wait", "pod/bad-0-0", "--for=jsonpath={.metadata.deletionTimestamp}", "--timeout=10s", check=False
    )


def is_deleting(plane, pod: str) -> bool:
    return bool(plane.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.deletionTimestamp}", check=False).stdout)


def test_a_deleted_pod_is_a_disruption_and_a_killed_one_a_restart(jobs, kubelet):
    start(jobs, kubelet, "lost", 30)
    jobs.plane.kubectl("delete", "pod", "lost-1-0", "--force", "--grace-period=0")
    jobs.wait_for_pods("lost-1-1")
    assert jobs.get("lost")["status"]["ring"]["broken"]
    kubelet.run("lost-1-1", "127.0.1.33")
    jobs.wait("lost", ".status.ring.revision", "2")
    jobs.wait("lost", ".status.phase", "Running")
    kubelet.end("lost-0-0", 137)
    jobs.wait_for_pods("lost-0-1")
    status = jobs.get("lost")["status"]
    assert (status["disruptions"], status["restarts"]) == (1, 1)
    assert status["lastFailure"]["signal"] == 9
    assert [(s["slot"], s["incarnation"]) for s in status["slots"]] == [(0, 1), (1, 1)]


def test_a_killed_trainer_gets_a_new_ring_and_no_new_pod(jobs, kubelet):
    leader, other = start(jobs, kubelet, "forked", 40)
    lost = {"revision": 1, "code": None, "signal": 9, "reason": "", "message": ""}
    other.report = other.report | {"state": "lost", "trainerExit": lost}
    leader.report = leader.report | {"state": "lost", "trainerExit": {**lost, "signal": None, "code": 20}}
    status = jobs.wait("forked", ".status.ring.revision", "2")["status"]
    assert status["restarts"] == 1
    eventually(lambda: [ring["revision"] for ring in leader.rings] == [1, 2])
    assert {name for name in jobs.children("forked") if name.startswith("pod/")} == {"pod/forked-0-0", "pod/forked-1-0"}


def test_an_operator_killed_at_any_time_makes_no_pod_twice(jobs, kubelet, operator, plane):
    jobs.apply("steady")
    jobs.wait_for_pods("steady-0-0")
    operator.kill()
    operator.start()
    jobs.wait_for_pods("steady-1-0")
    agents = [kubelet.run(f"steady-{slot}-0", f"127.0.1.{50 + slot}") for slot in range(2)]
    jobs.wait("steady", ".status.phase", "Running")
    operator.kill()
    operator.start()
    kubelet.end("steady-0-0", 0, failure(reason="Done"))
    status = jobs.wait("steady", ".status.phase", "Succeeded")["status"]
    assert (status["restarts"], status["disruptions"], status["ring"]["revision"]) == (0, 0, 1)
    assert all(ring["revision"] == 1 for agent in agents for ring in agent.rings)
    assert sorted(created(plane, "steady-")) == ["steady-0-0", "steady-1-0"]


def test_a_pod_that_vanished_unseen_is_confirmed_gone_and_replaced(jobs, kubelet, operator, plane):
    start(jobs, kubelet, "unseen", 55)
    operator.kill()
    plane.kubectl("delete", "pod", "unseen-1-0", "--force", "--grace-period=0")
    operator.start()
    jobs.wait_for_pods("unseen-1-1")
    status = jobs.get("unseen")["status"]
    assert (status["disruptions"], status["restarts"]) == (1, 0)
    assert "left no trace" in status["lastFailure"]["message"]


def test_the_pinned_plan_outlives_a_change_of_defaults(jobs, kubelet, operator, plane):
    start(jobs, kubelet, "pinned", 60)
    operator.kill()
    other = Operator(plane, KERASJOB_DEFAULT_IMAGE="elsewhere/trainer:2")
    other.start()
    try:
        jobs.plane.kubectl("delete", "pod", "pinned-0-0", "--force", "--grace-period=0")
        jobs.wait_for_pods("pinned-0-1")
    finally:
        other.kill()
        operator.start()
    image = plane.kubectl("get", "pod", "pinned-0-1", "-o", "jsonpath={.spec.containers[0].image}").stdout
    assert image == "kerasjob/trainer:0.1.0"


def test_what_keeps_a_pod_from_starting_is_shown_and_final_only_later(jobs, kubelet):
    jobs.apply("stuck", startupTimeoutSeconds=6)
    jobs.wait_for_pods("stuck-0-0")
    kubelet.wait_in("stuck-0-0", "ErrImagePull", "no such image: trainer:9")
    status = jobs.wait("stuck", '.status.conditions[?(@.type=="Problem")].status', "True", 5)["status"]
    assert status["phase"] == "Pending"
    problem = next(c for c in status["conditions"] if c["type"] == "Problem")
    assert problem["reason"] == "ImageCannotBePulled"
    assert "no such image: trainer:9" in problem["message"]
    status = jobs.wait("stuck", ".status.phase", "Failed", 15)["status"]
    assert status["lastFailure"]["reason"] == "ImageCannotBePulled"


def test_a_volume_that_cannot_be_mounted_is_said_in_the_kubelets_words(jobs, kubelet):
    volume = {"name": "data", "secret": {"secretName": "nowhere"}}
    jobs.apply("unmounted", volumes=[volume], volumeMounts=[{"name": "data", "mountPath": "/secret"}])
    jobs.wait_for_pods("unmounted-0-0")
    words = 'MountVolume.SetUp failed for volume "data" : secret "nowhere" not found'
    kubelet.cannot_mount("unmounted-0-0", words)
    status = jobs.wait("unmounted", '.status.conditions[?(@.type=="Problem")].status', "True", 25)["status"]
    problem = next(c for c in status["conditions"] if c["type"] == "Problem")
    assert problem["reason"] == "ContainerConfigError"
    assert problem["message"] == f"worker 0 (unmounted-0-0): FailedMount: {words}"
    kubelet.run("unmounted-0-0", "127.0.1.180")
    jobs.wait("unmounted", '.status.conditions[?(@.type=="Problem")].status', "False")


def test_what_pods_need_is_made_again_where_somebody_deleted_it(jobs, kubelet, operator, plane):
    start(jobs, kubelet, "open", 182)
    operator.kill()
    other = Operator(plane, KERASJOB_RESYNC_SECONDS="2")
    other.start()
    try:
        uid = jobs.get("open")["metadata"]["uid"]
        plane.kubectl("delete", "networkpolicy,service", "open")
        for made_again in ("networkpolicy/open", "service/open"):
            plane.kubectl("wait", "--for=create", made_again, "--timeout=20s")
        plane.kubectl("delete", "pod", "open-1-0", "--force", "--grace-period=0")
        jobs.wait_for_pods("open-1-1")
        secret = f"open-token-{uid[:8]}"
        plane.kubectl("delete", "secret", secret)
        kubelet.cannot_mount("open-1-1", f'MountVolume.SetUp failed for volume "t" : secret "{secret}" not found')
        plane.kubectl("wait", "--for=create", f"secret/{secret}", "--timeout=30s")
    finally:
        other.kill()
        operator.start()
    assert jobs.get("open")["status"]["restarts"] == 0


def test_agents_that_cannot_be_reached_are_said_and_end_the_start(jobs, kubelet):
    jobs.apply("severed", startupTimeoutSeconds=20)
    jobs.wait_for_pods("severed-0-0", "severed-1-0")
    for slot in range(2):  # as the kubelet sees it; no agent answers the operator there
        ready = [{"type": "Ready", "status": "True"}]
        kubelet.patch(f"severed-{slot}-0", phase="Running", podIP=f"127.0.1.{160 + slot}", conditions=ready)
    job = jobs.wait("severed", '.status.conditions[?(@.type=="Problem")].reason', "AgentUnreachable")
    assert job["status"]["phase"] == "Starting"
    job = jobs.wait("severed", ".status.phase", "Failed")
    assert "at 127.0.1.16" in job["status"]["lastFailure"]["message"]


def test_a_quota_is_waited_for(jobs, plane):
    plane.kubectl("create", "quota", "few", "--hard=pods=1")
    try:
        plane.kubectl("wait", "quota/few", "--for=jsonpath={.status.hard.pods}=1", "--timeout=20s")
        jobs.apply("many")
        status = jobs.wait("many", '.status.conditions[?(@.type=="Problem")].status', "True")["status"]
        problem = next(c for c in status["conditions"] if c["type"] == "Problem")
        assert (problem["reason"], status["phase"]) == ("QuotaExceeded", "Pending")
        assert "exceeded quota: few" in problem["message"]
    finally:
        plane.kubectl("delete", "quota", "few")
    jobs.wait_for_pods("many-0-0", "many-1-0")
    jobs.wait("many", '.status.conditions[?(@.type=="Problem")].status', "False")


def test_a_job_that_is_applied_again_has_nothing_of_the_earlier_one(jobs, kubelet, plane):
    agents = start(jobs, kubelet, "again", 70)
    first = jobs.get("again")["metadata"]["uid"]
    plane.kubectl("delete", "kj", "again", "--wait=true")
    kubelet.close()
    later = start(jobs, kubelet, "again", 80)
    job = jobs.get("again")
    assert job["metadata"]["uid"] != first
    assert job["status"]["ring"]["revision"] == 1
    assert not any(c["type"] == "Problem" for c in job["status"]["conditions"])
    assert agents[0].tokens != later[0].tokens
    secrets = {child for child in jobs.children("again") if child.startswith("secret/")}
    assert f"secret/again-token-{job['metadata']['uid'][:8]}" in secrets


STRANGERS = {
    "service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}},
    "networkpolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
    "configmap": {"apiVersion": "v1"},
    "podgroup": {"apiVersion": "scheduling.k8s.io/v1beta1", "spec": {"schedulingPolicy": {"basic": {}}}},
    "deployment": {
        "apiVersion": "apps/v1",
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    },
}
NAMES = {"configmap": "taken-plan", "deployment": "taken-tensorboard"}


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_a_stranger_has_of_this_name_is_not_touched(jobs, plane, kind):
    name = NAMES.get(kind, "taken")
    kinds = {
        "service": "Service", "networkpolicy": "NetworkPolicy", "configmap": "ConfigMap", "deployment": "Deployment",
        "podgroup": "PodGroup",
    }  # fmt: skip
    stranger = {"kind": kinds[kind], "metadata": {"name": name}, **STRANGERS[kind]}
    plane.kubectl("create", "-f", "-", stdin=json.dumps(stranger))
    before = plane.kubectl("get", kind, name, "-o", "json").stdout
    gang = {"scheduling": {"gang": "Native"}} if kind == "podgroup" else {}
    try:
        jobs.apply("taken", tensorBoard={"uri": "s3://bucket/events/"}, **gang)
        status = jobs.wait("taken", '.status.conditions[?(@.type=="Problem")].status', "True")["status"]
        problem = next(c for c in status["conditions"] if c["type"] == "Problem")
        assert problem["reason"] == "NameConflict"
        assert f" {name} exists" in problem["message"]
        assert plane.kubectl("get", kind, name, "-o", "json").stdout == before
        plane.kubectl("delete", kind, name)
        jobs.wait_for_pods("taken-0-0", "taken-1-0")  # it heals once the name is free
    finally:
        plane.kubectl("delete", kind, name, "--ignore-not-found", "--wait=false")


def test_a_tensorboard_stands_beside_a_job_that_wants_one(jobs, plane):
    jobs.apply("seen", tensorBoard={}, checkpoint={"uri": "s3://bucket/state/"}, storage={"s3": {"secretName": "keys"}})
    jobs.wait_for_pods("seen-0-0", "seen-1-0")
    named = {"deployment.apps", "service", "networkpolicy.networking.k8s.io"}
    found = plane.kubectl("get", "deployments,services,networkpolicies", "-o", "name").stdout.split()
    assert {f"{kind}/seen-tensorboard" for kind in named} <= set(found)
    worker = json.loads(plane.kubectl("get", "pod", "seen-0-0", "-o", "json").stdout)
    template = json.loads(plane.kubectl("get", "deployment", "seen-tensorboard", "-o", "json").stdout)["spec"][
        "template"
    ]
    ring = json.loads(plane.kubectl("get", "service", "seen", "-o", "json").stdout)["spec"]["selector"]
    assert ring.items() <= worker["metadata"]["labels"].items()
    assert not ring.items() <= template["metadata"]["labels"].items(), "it is no worker"
    config = json.loads(plane.kubectl("get", "configmap", "seen-plan", "-o", "json").stdout)["data"]["worker.json"]
    uid = jobs.get("seen")["metadata"]["uid"]
    assert json.loads(config)["eventsUri"] == f"s3://bucket/state/{uid}/tensorboard/"
    run = jobs.apply("nowhere", check=False, tensorBoard={})
    assert "spec.tensorBoard needs spec.checkpoint or a uri of its own" in run.stderr


def test_deleting_a_job_deletes_its_children_even_without_the_operator(jobs, operator, plane):
    jobs.apply("gone")
    jobs.wait_for_pods("gone-0-0", "gone-1-0")
    operator.kill()
    try:
        plane.kubectl("delete", "kj", "gone", "--wait=true")  # no finalizer holds it
        # Pods of a node that is not there wait for a kubelet: they are told to go, which is what can be seen here.
        eventually(lambda: not {c for c in jobs.children("gone") if not c.startswith("pod/")})
    finally:
        operator.start()


def test_the_server_refuses_by_rule_and_says_why(jobs):
    cases = {
        "exactly one of program.script, program.module, program.source and program.recipe": {
            "program": {"script": "a", "recipe": RECIPE}
        },
        "spec.program.args: Invalid value: a recipe takes no arguments": {"program": {"recipe": RECIPE, "args": ["a"]}},
        "spec.workers: Invalid value": {"workers": 0},
        "spec.checkpoint.uri: Invalid value": {"checkpoint": {"uri": "gs://bucket/x"}},
        'unknown field "spec.wrokers"': {"wrokers": 2},
        "spec.elastic.minWorkers cannot be more than spec.workers": {"workers": 2, "elastic": {"minWorkers": 3}},
        "spec.checkpoint.keep.best.mode: Unsupported value": {
            "checkpoint": {"uri": "s3://bucket/x", "keep": {"best": {"metric": "loss", "mode": "least"}}}
        },
        "spec.data[0].path: Invalid value": {"data": [{"uri": "s3://bucket/x", "path": "relative"}]},
        "data[].path must be a directory of its own": {"data": [{"uri": "s3://bucket/x", "path": "/a/../proc"}]},
        "spec.program.source: Too long: may not be more than 131072": {"program": {"source": "x" * 1_000_000}},
    }
    for words, spec in cases.items():
        run = jobs.apply("refused", check=False, **spec)
        assert run.returncode != 0, words
        assert words in run.stderr
    run = jobs.apply("a" * 47, check=False)
    assert "metadata.name must be at most 46 characters" in run.stderr


def test_what_may_not_change_does_not(jobs):
    jobs.apply("fixed")
    run = jobs.apply("fixed", check=False, workers=3)
    assert "spec.workers can change only in a job that has spec.elastic" in run.stderr
    run = jobs.apply("fixed", check=False, seed=3)
    assert "spec.seed cannot change after the job was created" in run.stderr
    run = jobs.apply("fixed", check=False, scheduling={"gang": "Native"})
    assert "spec.scheduling cannot change after the job was created" in run.stderr
    jobs.apply("fixed", failurePolicy={"maxRestarts": 9})


OF_ANOTHER = {"managedBy": "example.com/another"}  # so that nothing is made of it
FULL = {
    "image": "a",
    "seed": 1,
    "program": {"script": "a.py"},
    "storage": {"s3": {"region": "a"}},
    "data": [{"uri": "s3://bucket/a", "path": "/data"}],
    "checkpoint": {"uri": "s3://bucket/a"},
    "export": {"uri": "s3://bucket/a"},
    "tensorBoard": {"uri": "s3://bucket/a"},
}
OTHERWISE = {
    "image": "b",
    "seed": 2,
    "program": {"script": "b.py"},
    "storage": {"s3": {"region": "b"}},
    "data": [{"uri": "s3://bucket/b", "path": "/data"}],
    "checkpoint": {"uri": "s3://bucket/b"},
    "export": {"uri": "s3://bucket/b"},
    "tensorBoard": {"uri": "s3://bucket/b"},
    "managedBy": "example.com/yet-another",
}


def test_what_may_not_change_is_neither_changed_nor_added_nor_taken_away(jobs, plane):
    jobs.apply("full", **FULL | OF_ANOTHER)
    jobs.apply("bare", **OF_ANOTHER)

    def refused(name: str, field: str, value: object) -> bool:
        change = json.dumps({"spec": {field: value}})
        run = plane.kubectl("patch", "kj", name, "--type=merge", "--dry-run=server", "-p", change, check=False)
        return f"spec.{field} cannot change after the job was created" in run.stderr

    assert [field for field, value in OTHERWISE.items() if not refused("full", field, value)] == []
    optional = [field for field in OTHERWISE if field != "program"]
    assert [field for field in optional if not refused("full", field, None)] == []
    added = [field for field in optional if field != "managedBy"]
    assert [field for field in added if not refused("bare", field, OTHERWISE[field])] == []


def test_an_operator_that_begins_again_goes_on_with_a_job_of_any_phase(jobs, kubelet, operator):
    jobs.apply("was-suspended", suspend=True)
    jobs.apply("was-invalid", failurePolicy={"rules": [{"action": "Ignore", "onMessage": "("}]})
    jobs.apply("was-ended", ttlSecondsAfterFinished=4)
    jobs.wait_for_pods("was-ended-0-0")
    kubelet.end("was-ended-0-0", 0, failure(reason="Done"))
    for name, phase in (("suspended", "Suspended"), ("invalid", "Invalid"), ("ended", "Succeeded")):
        jobs.wait(f"was-{name}", ".status.phase", phase)
    operator.kill()
    operator.start()
    jobs.plane.kubectl("wait", "kj/was-ended", "--for=delete", "--timeout=20s")
    jobs.apply("was-suspended", suspend=False)
    jobs.apply("was-invalid", failurePolicy={"rules": []})
    jobs.wait_for_pods("was-suspended-0-0", "was-invalid-0-0")


def test_a_recipe_is_kept_whole_checked_and_fixed(jobs, plane):
    jobs.apply("recipe", program={"recipe": RECIPE})
    jobs.wait_for_pods("recipe-0-0", "recipe-1-0")
    plan = plane.kubectl("get", "cm", "recipe-plan", "-o", "json").stdout
    assert RECIPE in [json.loads(text).get("program", {}).get("recipe") for text in json.loads(plan)["data"].values()]
    changed = json.loads(json.dumps(RECIPE).replace('"units": 1', '"units": 2'))
    run = jobs.apply("recipe", check=False, program={"recipe": changed})
    assert "spec.program cannot change after the job was created" in run.stderr
    jobs.apply("wrong-recipe", program={"recipe": {**RECIPE, "fits": {}, "compile": []}})
    job = jobs.wait("wrong-recipe", ".status.phase", "Invalid")
    message = next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")["message"]
    assert "spec.program.recipe.fits: unknown section; did you mean 'fit'?" in message
    assert "spec.program.recipe.compile: expected a mapping of arguments, got []" in message
    assert jobs.children("wrong-recipe") == set()


def test_a_misspelt_pod_template_is_invalid_and_makes_nothing(jobs):
    jobs.apply("template", podTemplate={"spec": {"nodeSelektor": {}, "hostNetwork": True}})
    job = jobs.wait("template", ".status.phase", "Invalid")
    message = next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")["message"]
    assert "nodeSelektor: unknown field; did you mean 'nodeSelector'?" in message
    assert "hostNetwork: cannot be set" in message
    assert jobs.children("template") == set()


def test_one_job_of_any_shape_keeps_no_other_from_the_operator(jobs, operator, plane):
    """Neither what the watch brings nor what a restarted operator lists."""
    jobs.apply("bad-labels", podTemplate={"metadata": {"labels": 5}})
    jobs.made.append("deep")
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    body = (
        '{"apiVersion": "kerasjob.dev/v1alpha1", "kind": "KerasJob", "metadata": {"name": "deep"},'
        f' "spec": {{"program": {{"source": "pass"}}, "podTemplate": {deep}}}}}'
    )
    uri = "/apis/kerasjob.dev/v1alpha1/namespaces/default/kerasjobs"
    plane.kubectl("create", f"--raw={uri}", "-f", "-", stdin=body)
    for name, fault in (
        ("bad-labels", "spec.podTemplate.metadata.labels: expected an object of texts, got 5"),
        ("deep", "spec.podTemplate: nested more than 32 deep"),
    ):
        jobs.plane.kubectl("wait", f"kj/{name}", "--for=jsonpath={.status.phase}=Invalid", "--timeout=20s")
        path = 'jsonpath={.status.conditions[?(@.type=="Invalid")].message}'
        assert plane.kubectl("get", "kj", name, "-o", path).stdout == fault
    jobs.apply("beside")
    jobs.wait_for_pods("beside-0-0")
    operator.kill()
    operator.start()
    jobs.apply("after")
    jobs.wait_for_pods("after-0-0")
    assert "has failed" not in operator.log.read_text()


def test_a_field_that_only_the_server_knows_is_invalid_in_its_words(jobs):
    jobs.apply("deep", podTemplate={"spec": {"containers": [{"name": "trainer", "imagePolicy": "x"}]}})
    job = jobs.wait("deep", ".status.phase", "Invalid")
    message = next(c for c in job["status"]["conditions"] if c["type"] == "Invalid")["message"]
    assert "imagePolicy" in message
    assert not any(child.startswith("pod/") for child in jobs.children("deep"))


def test_operator_metrics_and_health(jobs, operator):
    assert operator.get("/healthz") == "ok"
    metrics = operator.get("/metrics")
    for name in ("kerasjob_jobs", "kerasjob_reconcile_duration_seconds_count", "kerasjob_queue_depth",
                 "kerasjob_api_requests_total", "kerasjob_agent_requests_total"):  # fmt: skip
        assert name in metrics


def value(operator: Operator, series: str) -> float:
    (found,) = re.findall(rf"(?m)^{re.escape(series)} (\S+)$", operator.get("/metrics"))
    return float(found)


def test_the_watch_hears_of_what_the_operator_writes(jobs, kubelet, operator):
    """As alert KerasJobWatchSilent takes for granted: here nobody else writes to a job."""
    writes = 'kerasjob_api_requests_total{code="200",resource="kerasjobs/status",verb="patch"}'
    heard = 'kerasjob_watch_last_event_timestamp_seconds{resource="kerasjobs"}'
    leader, _ = start(jobs, kubelet, "heard", 170)
    written, began = value(operator, writes), time.time()
    progress = {"call": 0, "epoch": 1, "epochs": 5, "step": 7, "steps": 9, "totalStep": 7, "metrics": []}
    leader.report = leader.report | {"progress": progress}
    jobs.wait("heard", ".status.progress.totalStep", "7")
    eventually(lambda: value(operator, writes) > written)
    eventually(lambda: value(operator, heard) > began)


def test_an_operator_that_starts_lists_the_jobs_once(jobs, operator, plane):
    """kopf, which would list them again, begins a task for each of them before it goes through the first."""

    def lists() -> int:
        events = map(json.loads, plane.audit_log.read_text().splitlines())
        kinds = [(e["verb"], e["objectRef"].get("resource"), e["stage"]) for e in events if "objectRef" in e]
        return kinds.count(("list", "kerasjobs", "ResponseComplete"))

    operator.stop()
    before = lists()
    operator.start()
    jobs.apply("heard-of")
    jobs.wait_for_pods("heard-of-0-0")
    assert lists() == before + 1


def test_the_operator_ends_when_it_is_told_to(operator):
    assert operator.stop() == 0
    assert "Traceback" not in operator.log.read_text()
    operator.start()


def test_bad_settings_are_refused_all_at_once():
    run = subprocess.run(
        [sys.executable, "-m", "kerasjob_operator"],
        env={"KERASJOB_PORT": "many", "KERASJOB_RESYNC_SECONDS": "-1", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "KERASJOB_PORT: expected int, got 'many'" in run.stderr
    assert "KERASJOB_RESYNC_SECONDS: must be greater than 0" in run.stderr
