"""A job in a namespace of the level `restricted`, a stranger beside it who asks its agents, and what of its secrets
can be read anywhere.

The test cluster's network does not enforce NetworkPolicies: the stranger gets through to the agents, which is the
worse case, and is refused by them. Where a policy is enforced it does not come that far; what the job's own one lets in
is worked out from the objects (`network_policies`).
"""

import base64
import json
import re
import secrets
import subprocess
from dataclasses import dataclass, field

import pytest
from tests.cluster import cluster, faults
from tests.cluster.cluster import kubectl
from tests.cluster.network_policies import lets_in

NAMESPACE = "restricted-team"
SYSTEM = "kerasjob-system"
LEVEL = "pod-security.kubernetes.io/enforce"
NAME = "canary"
# Its keys are wrong: what is said of a fault must not tell them, either.
LOCKED_OUT = "locked-out"
TRAINER = "localhost/kerasjob/trainer:dev"
AGENT, TENSORFLOW = 8470, 8481  # ports: the agent's, and that of TensorFlow in the first ring


@dataclass
class Canary:
    """A job whose secrets are known here, and nowhere else."""

    env_value: str = field(default_factory=lambda: secrets.token_hex(16))
    s3_key: str = field(default_factory=lambda: secrets.token_hex(16))
    wrong_s3_key: str = field(default_factory=lambda: secrets.token_hex(16))
    token: str = ""
    other_token: str = ""
    stranger: dict = field(default_factory=dict)


def in_team(name: str, kind: str = "Secret", **body) -> dict:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **body}


def admin_of_store(command: str, *arguments: str) -> None:
    """versitygw's own command."""
    ends = cluster.endpoints()
    login = ["-a", ends["s3AccessKey"], "-s", ends["s3SecretKey"], "--er", ends["s3"]]
    run = subprocess.run(
        [cluster.STATE / "bin" / "versitygw", "admin", *login, command, *arguments], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def job(name: str, env_value: str) -> dict:
    made = faults.make(name, epochs=10, pause=0.1)
    made["metadata"]["namespace"] = NAMESPACE
    made["spec"] |= {"env": [{"name": "CANARY", "value": env_value}], "cleanPodPolicy": "None"}
    made["spec"]["storage"]["s3"]["secretName"] = f"{name}-keys"
    return made


def token_of(name: str) -> str:
    uid = cluster.get("kj", name, NAMESPACE)["metadata"]["uid"]
    secret = cluster.get("secret", f"{name}-token-{uid[:8]}", NAMESPACE)
    return base64.b64decode(secret["data"]["token"]).decode()


@pytest.fixture(scope="module")
def team():
    """The namespace."""
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("label", "namespace", NAMESPACE, f"{LEVEL}=restricted")
        yield
    finally:
        cluster.delete(NAME, NAMESPACE)
        cluster.delete(LOCKED_OUT, NAMESPACE)
        kubectl("delete", "namespace", NAMESPACE)


@pytest.fixture(scope="module")
def canary(team):
    """The job, and another one whose keys are wrong; both have begun."""
    made = Canary()
    admin_of_store("create-user", "-a", NAME, "-s", made.s3_key, "-r", "admin")
    try:
        for name, key in ((NAME, made.s3_key), (LOCKED_OUT, made.wrong_s3_key)):
            keys = {"AWS_ACCESS_KEY_ID": NAME, "AWS_SECRET_ACCESS_KEY": key}
            cluster.apply(in_team(f"{name}-keys", stringData=keys))
        cluster.apply(job(NAME, made.env_value))
        wrong = job(LOCKED_OUT, made.env_value)
        cluster.apply({**wrong, "spec": {**wrong["spec"], "workers": 1, "startupTimeoutSeconds": 20}})
        cluster.wait_for(NAME, cluster.trains(), 180, NAMESPACE)
        made.token, made.other_token = token_of(NAME), token_of(LOCKED_OUT)
        yield made
    finally:
        admin_of_store("delete-user", "-a", NAME)


# Asks each agent everything, as nobody, with a wrong token, with that of another job; then once with the right one.
STRANGER = """
import json, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
answers = []
for url, method, body, token in asked:
    headers = {} if token is None else {"Authorization": "Bearer " + token}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answers.append([answer.status, answer.read().decode()])
    except urllib.error.HTTPError as error:
        answers.append([error.code, error.read().decode()])
print(json.dumps(answers))
"""


def stranger_pod() -> dict:
    """The trainer's image in the job's namespace, under labels of nobody's."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "stranger",
        "image": TRAINER,
        "command": ["python", "-c", "import signal; signal.pause()"],
        "securityContext": security,
    }
    spec = {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return in_team("stranger", "Pod", spec=spec)


@pytest.fixture(scope="module")
def answers(canary) -> list[tuple[str, str, int, str]]:
    """What the agents say to the stranger while they train: who asked, for what, the status, the body."""
    cluster.apply(stranger_pod())
    kubectl("wait", "pod/stranger", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")
    canary.stranger = cluster.get("pod", "stranger", NAMESPACE)
    uid = cluster.get("kj", NAME, NAMESPACE)["metadata"]["uid"]
    cluster.eventually(lambda: cluster.keys(f"checkpoints/{uid}/manifests/"), 60, "a checkpoint")
    checkpoint = max(cluster.keys(f"checkpoints/{uid}/manifests/")).rsplit("/", 1)[1].removesuffix(".json")
    own = {"slot": 0, "incarnation": 0, "host": canary.stranger["status"]["podIP"], "agentPort": 8470, "port": 8481}
    ring = {"protocol": 1, "job": uid, "revision": 99, "members": [own], "afterStep": False}
    requests = [
        ("GET", "/v1/status", None),
        ("PUT", "/v1/ring", ring),
        ("GET", "/v1/restore?revision=1", None),
        ("GET", "/v1/held?revision=1", None),
        ("GET", f"/v1/held/{checkpoint}/state.safetensors", None),
        ("GET", f"/v1/held/{checkpoint}/session.json", None),
        ("GET", "/v1/watch?revision=1", None),
        ("POST", "/v1/share", {"checkpoint": checkpoint, "file": "state.safetensors"}),
        ("POST", "/v1/stop", {}),
    ]
    tokens = {"nobody": None, "wrong": "0" * 64, "other job": canary.other_token}
    asked = [
        (who, f"{method} {path}", [f"http://{pod['status']['podIP']}:8470{path}", method, body, token])
        for pod in cluster.pods_of(NAME, NAMESPACE)
        for who, token in tokens.items()
        for method, path, body in requests
    ]
    leader = next(pod for pod in cluster.pods_of(NAME, NAMESPACE) if pod["metadata"]["name"] == f"{NAME}-0-0")
    status = [f"http://{leader['status']['podIP']}:8470/v1/status", "GET", None, canary.token]
    asked.append(("operator", "GET /v1/status", status))
    run = kubectl(
        "exec", "-i", "stranger", "-n", NAMESPACE, "--", "python", "-c", STRANGER,
        stdin=json.dumps([request for _, _, request in asked]),
    )  # fmt: skip
    given = json.loads(run.stdout)
    return [(who, what, *answer) for (who, what, _), answer in zip(asked, given, strict=True)]


@pytest.fixture(scope="module")
def ended(canary, answers, worker_metrics) -> dict:
    """The job after its end, when the other one has failed as well."""
    cluster.finish(NAME, 120, NAMESPACE)
    cluster.wait_for(LOCKED_OUT, cluster.phase_is("Failed"), 60, NAMESPACE)
    return cluster.get("kj", NAME, NAMESPACE)


# Pod Security.


def test_a_job_trains_in_a_namespace_of_the_level_restricted(ended):
    assert cluster.get("namespace", NAMESPACE)["metadata"]["labels"][LEVEL] == "restricted"
    assert ended["status"]["progress"]["totalStep"] == 200
    naked = in_team("naked", "Pod", spec={"containers": [{"name": "naked", "image": TRAINER}]})
    refused = cluster.apply(naked, check=False)
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr, "the level is enforced"


def label_warnings(namespace: str) -> str:
    """What the server says of the pods that are there when their namespace is given the level. Nothing is changed."""
    # Another version than that in force: pods are looked at again only where the level or its version changes.
    labels = (f"{LEVEL}=restricted", f"{LEVEL}-version=v1.36")
    return kubectl("label", "namespace", namespace, *labels, "--overwrite", "--dry-run=server").stderr


def test_the_operators_own_namespace_can_have_the_level_as_well():
    assert cluster.get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=kerasjob-operator")["items"]
    assert label_warnings(SYSTEM) == ""
    kubectl("create", "namespace", "unrestricted")
    try:
        naked = in_team("naked", "Pod", spec={"containers": [{"name": "naked", "image": TRAINER}]})
        naked["metadata"]["namespace"] = "unrestricted"
        cluster.apply(naked)
        assert "existing pods in namespace" in label_warnings("unrestricted")
    finally:
        kubectl("delete", "namespace", "unrestricted", "--wait=false")


# A stranger.


def test_an_agent_tells_a_stranger_nothing_and_does_nothing_for_it(answers):
    strangers = [answer for answer in answers if answer[0] != "operator"]
    assert len(strangers) == 2 * 3 * 9
    assert {(who, what, status, body) for who, what, status, body in strangers if status != 401} == set()
    assert {body for _, _, _, body in strangers} == {"missing or wrong token"}


def test_the_jobs_own_token_opens_what_the_stranger_was_refused(answers):
    (told,) = [(status, json.loads(body)) for who, _, status, body in answers if who == "operator"]
    assert told[0] == 200
    assert (told[1]["state"], told[1]["revision"]) == ("training", 1)


def test_a_job_that_a_stranger_has_asked_ends_undisturbed(ended):
    status = ended["status"]
    assert (status["phase"], status["restarts"], status["disruptions"]) == ("Succeeded", 0, 0)
    assert status["ring"]["revision"] == 1
    assert cluster.condition(status, "Problem")["status"] == "False"


def test_the_jobs_policy_would_keep_the_stranger_from_all_ports(canary, answers):
    policy = cluster.get("networkpolicy", NAME, NAMESPACE)
    team, system = cluster.get("namespace", NAMESPACE), cluster.get("namespace", SYSTEM)
    workers = cluster.pods_of(NAME, NAMESPACE)
    (other,) = cluster.pods_of(LOCKED_OUT, NAMESPACE)
    operator = cluster.get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=kerasjob-operator")["items"][0]

    def reached(source: dict, namespace: dict) -> set[int]:
        ports = (AGENT, TENSORFLOW, 22)
        return {port for port in ports for pod in workers if lets_in(policy, pod, source, namespace, port)}

    assert reached(canary.stranger, team) == set()
    assert reached(other, team) == set()
    assert reached(workers[0], team) == {AGENT, TENSORFLOW}
    assert reached(operator, system) == {AGENT}
    assert reached({**workers[0], "metadata": {**workers[0]["metadata"], "namespace": SYSTEM}}, system) == {AGENT}
    default = cluster.get("namespace", "default")
    elsewhere = {**workers[0], "metadata": {**workers[0]["metadata"], "namespace": "default"}}
    assert reached(elsewhere, default) == set(), "labels are of no use in another namespace"


# Secrets.


def metrics(namespace: str, pod: str, port: int) -> str:
    return kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics").stdout


@pytest.fixture(scope="module")
def worker_metrics(canary) -> str:
    """While they train."""
    return "".join(metrics(NAMESPACE, f"{NAME}-{slot}-0", AGENT) for slot in range(2))


@pytest.fixture(scope="module")
def told(worker_metrics, ended) -> dict[str, str]:
    """All that is told of the jobs, by where it is told."""
    operators = cluster.get("pods", namespace=SYSTEM, selector="app.kubernetes.io/name=kerasjob-operator")["items"]
    operator_names = [pod["metadata"]["name"] for pod in operators]
    jobs = cluster.get("kj", namespace=NAMESPACE)["items"]
    pods = [pod for name in (NAME, LOCKED_OUT) for pod in cluster.pods_of(name, NAMESPACE)]
    assert len(pods) == 3
    arguments = [
        [container.get("command"), container.get("args")]
        for pod in [*pods, *operators]
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    ]
    return {
        "status": json.dumps([job["status"] for job in jobs]),
        "status of pods": json.dumps([pod["status"] for pod in pods]),
        "labels and annotations of pods": json.dumps([pod["metadata"] for pod in pods]),
        "events": "".join(kubectl("get", "events", "-n", name, "-o", "yaml").stdout for name in (NAMESPACE, SYSTEM)),
        "logs of the operator": "".join(kubectl("logs", name, "-n", SYSTEM).stdout for name in operator_names),
        "logs of workers": "".join(kubectl("logs", pod["metadata"]["name"], "-n", NAMESPACE).stdout for pod in pods),
        "arguments": json.dumps(arguments),
        "metrics of the operator": "".join(metrics(SYSTEM, name, 8080) for name in operator_names),
        "metrics of workers": worker_metrics,
        "records in the store": "".join(records(job) for job in jobs),
    }


def records(job: dict) -> str:
    """What a job has written beside its tensors."""
    texts = [key for key in cluster.keys(f"checkpoints/{job['metadata']['uid']}/") if key.endswith(".json")]
    return "".join(cluster.s3().get_object(Bucket="kerasjob", Key=key)["Body"].read().decode() for key in texts)


def places_of(secret: str, told: dict[str, str]) -> list[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    return [place for place, text in told.items() if secret in text or encoded in text]


def test_what_is_told_of_a_job_is_there_to_be_looked_at(canary, told):
    """The next tests find nothing; this one, that they look where something is."""
    assert {place for place, text in told.items() if len(text) < 100} == set()
    for place in ("status", "events", "logs of the operator", "metrics of the operator"):
        assert NAME in told[place], place
    assert "step 200 " in told["logs of workers"]
    assert "kerasjob_trainer_step_duration_seconds_sum" in told["metrics of workers"]
    assert f"{LOCKED_OUT}-keys" in told["status"], "the fault of the keys is told"


@pytest.mark.parametrize("name", ["env_value", "s3_key", "wrong_s3_key", "token", "other_token"])
def test_a_secret_is_told_nowhere(canary, told, name):
    assert len(getattr(canary, name)) >= 32
    assert places_of(getattr(canary, name), told) == []


@pytest.mark.parametrize("name", ["s3_key", "wrong_s3_key", "token", "other_token"])
def test_a_secret_is_in_no_other_object(canary, ended, name):
    """The value of `env` is in the pod, and in the plan that pods are made from: whoever writes it there knows."""
    kinds = "configmaps,pods,services,networkpolicies,kerasjobs,endpointslices,leases"
    objects = {
        namespace: kubectl("get", kinds, "-n", namespace, "-o", "yaml").stdout for namespace in (NAMESPACE, SYSTEM)
    }
    assert canary.env_value in objects[NAMESPACE]
    assert places_of(getattr(canary, name), objects) == []


def test_each_job_has_a_token_of_its_own(canary):
    assert re.fullmatch(r"[0-9a-f]{64}", canary.token)
    assert re.fullmatch(r"[0-9a-f]{64}", canary.other_token)
    assert canary.token != canary.other_token


def test_a_worker_has_no_token_of_a_service_account(canary, answers):
    for pod in cluster.pods_of(NAME, NAMESPACE):
        assert pod["spec"]["automountServiceAccountToken"] is False
        volumes = json.dumps(pod["spec"]["volumes"])
        assert "serviceAccountToken" not in volumes
        mounts = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
        assert "/var/run/kerasjob/token" in mounts
        assert not [path for path in mounts if "serviceaccount" in path]
