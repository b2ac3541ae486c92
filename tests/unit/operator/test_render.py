"""The objects of a job: what each must have, and that the same job gives the same ones."""

import json

import pytest

from kerasjob_api.constants import WORK_DIR
from kerasjob_api.spec import KerasJobSpec
from kerasjob_core.observed import JobRef
from kerasjob_operator import render, tensorboard

REF = JobRef("team", "mnist", "0a1b2c3d-0000")
PROGRAM = {"script": "train.py"}
GANG = {"gang": "Native"}


def spec(**fields):
    return KerasJobSpec.model_validate({"program": PROGRAM} | fields)


def pod(slot=0, incarnation=0, **fields):
    plan = render.plan(REF, spec(**fields), "image:1", 7)
    return render.pod(REF, plan["data"]["pod.json"], slot, incarnation)


def trainer(body):
    return next(c for c in body["spec"]["containers"] if c["name"] == "trainer")


def mounts(body):
    return {mount["mountPath"]: mount for mount in trainer(body)["volumeMounts"]}


def test_every_object_belongs_to_the_job_and_says_so():
    objects = [
        render.service(REF), render.network_policy(REF, "system", "monitoring"), render.token_secret(REF, "t"),
        render.plan(REF, spec(), "image:1", 7), pod(), tensorboard.service(REF), tensorboard.network_policy(REF),
        tensorboard.deployment(REF, spec(tensorBoard={}), "image:1"), render.pod_group(REF, spec(scheduling=GANG)),
    ]  # fmt: skip
    for body in objects:
        (owner,) = body["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("KerasJob", REF.uid, True)
        assert body["metadata"]["namespace"] == "team"
        assert body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "kerasjob"
        assert body["metadata"]["labels"]["kerasjob.dev/job-uid"] == REF.uid
    names = [body["metadata"]["name"] for body in objects]
    assert names == [
        "mnist",
        "mnist",
        "mnist-token-0a1b2c3d",
        "mnist-plan",
        "mnist-0-0",
        *["mnist-tensorboard"] * 3,
        "mnist",
    ]


def test_a_pod_is_what_the_restricted_level_asks_for():
    body = pod()
    security = body["spec"]["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"], security["fsGroup"]) == (True, 1000, 1000)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert trainer(body)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert body["spec"]["automountServiceAccountToken"] is False
    assert body["spec"]["restartPolicy"] == "Never"


def test_the_installations_storage_is_that_of_jobs_that_say_nothing_of_it():
    ours = ("https://s3.local", "eu", "keys")
    filled = render.with_storage(spec(), *ours).storage.s3
    assert (filled.endpoint, filled.region, filled.secret_name) == ours
    own = spec(storage={"s3": {"region": "us"}})
    assert render.with_storage(own, *ours) == own
    assert render.with_storage(spec(), "", "", "") == spec()


def test_a_tensorboard_is_as_restricted_as_a_worker_and_asks_for_no_gpu():
    with_gpus = spec(
        tensorBoard={},
        checkpoint={"uri": "/state"},
        resources={"limits": {"nvidia.com/gpu": 8}},
        storage={"s3": {"secretName": "keys"}},
        volumes=[{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}],
        volumeMounts=[{"name": "state", "mountPath": "/state"}],
        tolerations=[{"key": "pool"}],
        imagePullSecrets=[{"name": "ours"}],
        podTemplate={
            "spec": {
                "nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu"}], "imagePullSecrets": [{"name": "mine"}],
            }
        },
    )  # fmt: skip
    body = tensorboard.deployment(REF, with_gpus, "image:1")["spec"]["template"]["spec"]
    (container,) = body["containers"]
    worker = render.pod_template(REF, with_gpus, "image:1", "text")["spec"]
    assert body["securityContext"] == worker["securityContext"]
    assert container["securityContext"] == worker["containers"][0]["securityContext"]
    assert body["automountServiceAccountToken"] is False
    assert "nvidia.com/gpu" not in str(body)
    assert "nodeSelector" not in body
    assert body["tolerations"] == [{"key": "pool"}, {"key": "gpu"}]
    assert body["imagePullSecrets"] == [{"name": "ours"}, {"name": "mine"}]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {
        "kerasjob-config": "/etc/kerasjob", "kerasjob-s3": "/var/run/kerasjob/s3", "kerasjob-work": "/work",
        "kerasjob-tmp": "/tmp", "state": "/state",
    }  # fmt: skip
    assert {volume["name"] for volume in body["volumes"]} == set(paths), "the job's token is none of its business"


def test_slot_and_incarnation_are_all_that_tells_pods_apart():
    one, other = pod(0, 0), pod(3, 2)
    assert other["metadata"]["name"] == other["spec"]["hostname"] == "mnist-3-2"
    assert other["metadata"]["labels"]["kerasjob.dev/slot"] == "3"
    environment = {entry["name"]: entry.get("value") for entry in trainer(other)["env"]}
    assert (environment["KERASJOB_SLOT"], environment["KERASJOB_INCARNATION"]) == ("3", "2")
    text = json.dumps(other)
    for ours, theirs in (("mnist-3-2", "mnist-0-0"), ('"3"', '"0"'), ('"2"', '"0"')):
        text = text.replace(ours, theirs)
    assert json.loads(text) == one


@pytest.mark.parametrize(("fields", "size"), [({}, 4), ({"elastic": {"minWorkers": 2}}, 2)], ids=["all", "enough"])
def test_a_gang_is_of_all_workers_or_of_as_many_as_are_enough(fields, size):
    fields = {"workers": 4, "scheduling": GANG} | fields
    group = render.pod_group(REF, spec(**fields))
    assert group["spec"] == {"schedulingPolicy": {"gang": {"minCount": size}}}
    assert pod(3, 1, **fields)["spec"]["schedulingGroup"] == {"podGroupName": group["metadata"]["name"]}


def test_a_gang_has_the_priority_of_its_pods():
    group = render.pod_group(REF, spec(scheduling=GANG, podTemplate={"spec": {"priorityClassName": "high"}}))
    assert group["spec"]["priorityClassName"] == "high"


def test_pods_of_no_gang_say_nothing_of_one():
    assert "schedulingGroup" not in pod()["spec"]


def test_the_plan_pins_pod_and_configuration():
    body = render.plan(REF, spec(workers=3, env=[{"name": "A", "value": "1"}]), "image:1", 7)
    assert body["immutable"] is True
    config = json.loads(body["data"]["worker.json"])
    assert (config["uid"], config["workers"], config["seed"]) == (REF.uid, 3, 7)
    assert render.pod(REF, body["data"]["pod.json"], 0, 0) == pod(workers=3, env=[{"name": "A", "value": "1"}])


def test_only_the_jobs_own_pods_reach_tensorflow():
    policy = render.network_policy(REF, "system", "monitoring")["spec"]
    own, others = policy["ingress"]
    assert own["from"] == [{"podSelector": policy["podSelector"]}]
    assert {"protocol": "TCP", "port": 8480, "endPort": 8495} in own["ports"]
    assert others["ports"] == [{"protocol": "TCP", "port": 8470}]
    assert [list(peer["namespaceSelector"]["matchLabels"].values()) for peer in others["from"]] == [
        ["system"], ["monitoring"],
    ]  # fmt: skip


def test_secrets_and_code_of_the_user_may_come_later():
    body = pod(
        program=PROGRAM | {"code": {"configMap": "code"}}, storage={"s3": {"secretName": "keys"}}
    )  # optional: the agent says what is missing
    volumes = {volume["name"]: volume for volume in body["spec"]["volumes"]}
    assert volumes["kerasjob-code"]["configMap"] == {"name": "code", "optional": True}
    assert volumes["kerasjob-s3"]["secret"] == {"secretName": "keys", "optional": True}
    assert mounts(body)["/etc/kerasjob/code"]["readOnly"]
    assert mounts(body)["/var/run/kerasjob/s3"]["readOnly"]


@pytest.mark.parametrize(
    ("data", "directories"),
    [
        ([("s3://bkt/train/", "/data/train")], {"/data/train"}),
        ([("s3://bkt/train/", "/data/v1.2/")], {"/data/v1.2"}),
        ([("s3://bkt/x.npz", "/data/x.npz")], {"/data"}),
        ([("s3://bkt/x.npz", "/data/")], {"/data"}),
        ([("s3://bkt/x.npz", "/x.npz")], {"/x.npz"}),
        ([("s3://bkt/a/", "/data/a"), ("s3://bkt/b/", "/data"), ("s3://bkt/c/", "/database")], {"/data", "/database"}),
        ([("s3://bkt/a/", WORK_DIR), ("s3://bkt/a/", f"{WORK_DIR}/a"), ("s3://bkt/b/", "/tmp/b")], set()),
        ([("s3://bkt/a/", "/mnt/own/a"), ("s3://bkt/a/", "/mnt/own")], set()),
    ],
)
def test_data_has_a_writable_place(data, directories):
    body = pod(
        data=[{"uri": uri, "path": path} for uri, path in data],
        volumes=[{"name": "own", "persistentVolumeClaim": {"claimName": "c"}}],
        volumeMounts=[{"name": "own", "mountPath": "/mnt/own"}],
    )
    assert {path for path, m in mounts(body).items() if m["name"].startswith("kerasjob-data")} == directories
    assert len(mounts(body)) == len(trainer(body)["volumeMounts"])


def test_what_the_user_says_of_the_pod_is_in_it():
    fields = {
        "imagePullPolicy": "Never", "resources": {"limits": {"nvidia.com/gpu": 1}}, "serviceAccountName": "trainer",
        "nodeSelector": {"gpu": "a100"}, "tolerations": [{"key": "gpu"}], "imagePullSecrets": [{"name": "registry"}],
        "envFrom": [{"configMapRef": {"name": "e"}}], "terminationGracePeriodSeconds": 30,
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
            "spec": {"priorityClassName": "high", "containers": [{"name": "trainer", "env": [{"name": "B"}]}]},
        },
    }  # fmt: skip
    body = pod(**fields)
    inside, container = body["spec"], trainer(body)
    assert (container["imagePullPolicy"], container["resources"]) == ("Never", {"limits": {"nvidia.com/gpu": 1}})
    assert (inside["serviceAccountName"], inside["nodeSelector"]) == ("trainer", {"gpu": "a100"})
    assert (inside["tolerations"][:-2], inside["imagePullSecrets"]) == ([{"key": "gpu"}], [{"name": "registry"}])

    assert container["envFrom"] == [{"configMapRef": {"name": "e"}}]
    assert (inside["terminationGracePeriodSeconds"], inside["priorityClassName"]) == (30, "high")
    assert "B" in [entry["name"] for entry in container["env"]]
    assert container["image"] == "image:1"
    assert body["metadata"]["labels"]["team"] == "a"
    assert body["metadata"]["annotations"]["note"] == "b"
    assert body["metadata"]["annotations"]["prometheus.io/port"] == "8470"


def test_an_overlay_cannot_take_away_what_tells_a_worker_who_it_is():
    overlay = {"metadata": {"labels": None}, "spec": {"containers": [{"name": "trainer", "env": None}]}}
    body = pod(podTemplate=overlay)
    assert [entry["name"] for entry in trainer(body)["env"]] == ["KERASJOB_SLOT", "KERASJOB_INCARNATION"]
    assert body["metadata"]["labels"]["kerasjob.dev/slot"] == "0"


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ([], [10, 10]),
        ([{"key": "node.kubernetes.io/unreachable", "operator": "Exists"}], [None, 10]),
        ([{"operator": "Exists"}], [None]),
    ],
)
def test_pods_of_a_dead_node_are_given_up_soon_where_the_user_says_nothing_else(given, seconds):
    tolerations = pod(tolerations=given)["spec"]["tolerations"]
    assert [toleration.get("tolerationSeconds") for toleration in tolerations] == seconds
