"""`scheduling.gang: Native` with a real scheduler: workers get nodes together, or none does.

There is one node, with room for ten pods and no kubelet: what is bound stays so until the test says that it has ended.
"""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from tests.integration.conftest import failure
from tests.integration.control_plane import GANG_API, GANG_GATE, ROOT, ControlPlane, Operator

from kerasjob_cluster import paths, tools

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "room-for-ten"},
    "status": {
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


URGENT = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "urgent"},
    "value": 1000,
    "preemptionPolicy": "Never",
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """Of its own: it has a node and a scheduler, and begins without gangs."""
    tools.ensure({"kube-scheduler"})
    plane = ControlPlane(tmp_path_factory.mktemp("gangs"), api_flags=())
    try:
        plane.start()
        plane.kubectl("apply", "-k", str(ROOT / "manifests"))
        plane.kubectl("wait", "crd/kerasjobs.kerasjob.dev", "--for=condition=Established", "--timeout=30s")
        plane.kubectl("create", "-f", "-", stdin=json.dumps(NODE))
        plane.kubectl("taint", "node", "room-for-ten", "node.kubernetes.io/not-ready-")
        yield plane
    finally:
        plane.stop()


@pytest.fixture(scope="module")
def operator(plane):
    operator = Operator(plane)
    operator.start()
    yield operator
    operator.kill()


@pytest.fixture
def scheduler(plane):
    """Starts it: what was created before is there at once."""
    flags = ("--leader-elect=false", "--secure-port=0", GANG_GATE)
    yield lambda: plane.run("kube-scheduler", f"--kubeconfig={plane.kubeconfig}", *flags)
    plane.kill("kube-scheduler")


def scheduled(plane, are_as_wanted: Callable[[dict[str, Counter]], bool]) -> dict[str, Counter]:
    """Watches what the scheduler says of pods until it is what is wanted: how many of each job have a node ("True"),
    and how many were refused ("False")."""
    told = '{.status.conditions[?(@.type=="PodScheduled")].status}'
    line = f'jsonpath={{.metadata.labels.kerasjob\\.dev/job}} {{.metadata.name}} {told}{{"\\n"}}'
    command = [paths.BIN / "kubectl", f"--kubeconfig={plane.kubeconfig}", "get", "pods", "--watch", "-o", line]
    said: dict[str, dict[str, str]] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        timeout = threading.Timer(20, process.kill)
        timeout.start()
        for job, pod, *status in map(str.split, process.stdout):
            said.setdefault(job, {})[pod] = status[0] if status else ""
            counts = {job: Counter(pods.values()) for job, pods in said.items()}
            if are_as_wanted(counts):
                timeout.cancel()
                process.kill()
                return counts
    raise AssertionError(said)


def problem(jobs, name: str) -> dict:
    job = jobs.wait(name, '.status.conditions[?(@.type=="Problem")].status', "True")
    return next(c for c in job["status"]["conditions"] if c["type"] == "Problem")


def test_where_gangs_are_not_served_the_job_says_so_and_heals(plane, jobs):
    spec = {"scheduling": {"gang": "Native"}, "env": [{"name": "A", "value": "1"}]}
    jobs.apply("early", **spec)
    said = problem(jobs, "early")
    assert said["reason"] == "GangSchedulingNotServed"
    for words in ("scheduling.k8s.io/v1beta1", "GenericWorkload", "Kueue", "podTemplate"):
        assert words in said["message"]
    assert jobs.children("early") == set()
    plane.kill("kube-apiserver")
    plane.serve(*GANG_API)
    jobs.wait_for_pods("early-0-0", "early-1-0")
    jobs.wait("early", '.status.conditions[?(@.type=="Problem")].status', "False")
    jobs.apply("early", suspend=True, **spec)  # heard by a watch of the new server, as the job's deletion must be
    jobs.wait("early", ".status.phase", "Suspended")


def end(kubelet, name: str, workers: int) -> None:
    """All of a job's pods have ended well; their room is free."""
    for slot in range(workers):
        kubelet.end(f"{name}-{slot}-0", 0, failure(reason="Done"))


def three_at_once(plane, jobs, scheduler, gang: str, placed: int) -> dict[str, Counter]:
    """Three jobs of four, where there is room for ten: what the scheduler says once so many pods have a node, and all
    others were refused."""
    names = [f"{gang.lower()}-{number}" for number in range(3)]
    for name in names:
        jobs.apply(name, workers=4, scheduling={"gang": gang})
    jobs.wait_for_pods(*(f"{name}-3-0" for name in names))
    scheduler()
    all_in_all = {"True": placed, "False": 12 - placed}
    return scheduled(plane, lambda said: sum(said.values(), Counter()) == all_in_all)


def test_without_gangs_jobs_are_half_placed(plane, jobs, scheduler):
    counts = three_at_once(plane, jobs, scheduler, "None", placed=10)
    assert any(0 < count["True"] < 4 for count in counts.values())


def test_all_workers_of_a_job_get_nodes_or_none(plane, jobs, kubelet, scheduler):
    counts = three_at_once(plane, jobs, scheduler, "Native", placed=8)
    (late,) = (name for name, count in counts.items() if not count["True"])
    placed = counts.keys() - {late}
    assert [counts[name] for name in placed] == [{"True": 4}] * 2
    said = problem(jobs, late)
    assert said["reason"] == "Unschedulable"
    assert "minCount (4) cannot be satisfied" in said["message"], "the scheduler's own words"
    for name in placed:
        end(kubelet, name, 4)
    scheduled(plane, lambda said: said.get(late) == {"True": 4})
    jobs.wait(late, '.status.conditions[?(@.type=="Problem")].status', "False")


def test_an_elastic_gang_begins_with_enough_grows_and_gets_its_lost_ones_back(plane, jobs, kubelet, scheduler):
    """Also of another priority, which the scheduler wants to be the same for pods and group."""
    plane.kubectl("create", "-f", "-", stdin=json.dumps(URGENT))
    gang, size = {"gang": "Native"}, {"minWorkers": 3}
    more = {"podTemplate": {"spec": {"priorityClassName": "urgent"}}}
    jobs.apply("before", workers=6, scheduling=gang)
    scheduler()
    scheduled(plane, lambda said: said.get("before") == {"True": 6})
    jobs.apply("grows", workers=6, scheduling=gang, elastic=size, **more)
    scheduled(plane, lambda said: said.get("grows") == {"True": 4, "False": 2})
    end(kubelet, "before", 6)
    scheduled(plane, lambda said: said.get("grows") == {"True": 6})
    plane.kubectl("delete", "pod", "grows-0-0", "--wait=false")
    plane.kubectl("scale", "kj/grows", "--replicas=7")
    new = {"grows-0-1", "grows-6-0"}
    jobs.wait_for_pods(*new)
    plane.kubectl("wait", *(f"pod/{name}" for name in new), "--for=condition=PodScheduled", "--timeout=20s")
    size_path = "jsonpath={.spec.schedulingPolicy.gang.minCount}"
    assert plane.kubectl("get", "podgroup", "grows", "-o", size_path).stdout == "3"
    run = jobs.apply("grows", check=False, workers=7, scheduling=gang, elastic={"minWorkers": 2}, **more)
    assert "spec.elastic.minWorkers is the size of the gang and cannot change" in run.stderr
