"""Two operators of which one leads, and operators that see one namespace alone."""

import json
import signal
import time

import pytest
from tests.integration.conftest import created, eventually, failure, start
from tests.integration.control_plane import ROOT, Operator
from tests.integration.test_rights import requests


def leads(operator: Operator) -> bool:
    return "kerasjob_operator_leader 1.0" in operator.get("/metrics")


@pytest.fixture
def standby(operator, plane):
    """A second operator, which waits."""
    eventually(lambda: leads(operator))
    other = Operator(plane, KERASJOB_IDENTITY="the-other-one")
    other.start()
    assert not leads(other)
    yield other
    other.stop()
    if operator.returncode is not None:
        operator.start()
    eventually(lambda: leads(operator))


def test_another_operator_takes_over_within_fifteen_seconds(jobs, kubelet, operator, standby, plane):
    start(jobs, kubelet, "handed", 150)
    operator.kill()
    began = time.monotonic()
    jobs.apply("after-it-died")
    jobs.wait_for_pods("after-it-died-0-0", "after-it-died-1-0")
    assert time.monotonic() - began < 15
    kubelet.end("handed-0-0", 0, failure(reason="Done"))
    status = jobs.wait("handed", ".status.phase", "Succeeded")["status"]
    assert (status["restarts"], status["disruptions"], status["ring"]["revision"]) == (0, 0, 1)
    assert sorted(created(plane, "after-it-died-")) == ["after-it-died-0-0", "after-it-died-1-0"]


def test_an_operator_that_ends_on_purpose_hands_over_at_once(jobs, operator, standby):
    began = time.monotonic()
    assert operator.stop() == 0
    eventually(lambda: leads(standby))
    assert time.monotonic() - began < 7, "a lease that is left to run out takes 8 s"
    jobs.apply("handed-over")
    jobs.wait_for_pods("handed-over-0-0", "handed-over-1-0")


def test_an_operator_that_slept_does_not_act_on_what_it_knew(jobs, kubelet, operator, standby, plane):
    start(jobs, kubelet, "asleep", 160)
    operator.signal(signal.SIGSTOP)
    try:
        eventually(lambda: leads(standby))
        jobs.plane.kubectl("delete", "pod", "asleep-1-0", "--force", "--grace-period=0")
        jobs.wait_for_pods("asleep-1-1")
        kubelet.run("asleep-1-1", "127.0.1.165")
        jobs.wait("asleep", ".status.ring.revision", "2")
    finally:
        operator.signal(signal.SIGCONT)
    eventually(lambda: not leads(operator))
    jobs.apply("awake")
    jobs.wait_for_pods("awake-0-0", "awake-1-0")
    status = jobs.wait("asleep", ".status.phase", "Running")["status"]
    assert (status["restarts"], status["disruptions"], status["ring"]["revision"]) == (0, 1, 2)
    assert sorted(created(plane, "asleep-")) == ["asleep-0-0", "asleep-1-0", "asleep-1-1"]


def test_an_operator_of_one_namespace_needs_no_rights_beyond_it(operator, plane, tmp_path):
    """As manifests/namespaced has it, beside a team of whose jobs it knows nothing."""
    operator.kill()
    for team in ("team-a", "team-b"):
        plane.kubectl("create", "namespace", team)
        plane.kubectl("wait", "--for=create", "serviceaccount/default", "-n", team, "--timeout=20s")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "all.yaml").write_text(plane.kubectl("kustomize", str(ROOT / "manifests/namespaced")).stdout)
    (overlay / "kustomization.yaml").write_text("namespace: team-a\nresources: [all.yaml]\n")
    plane.kubectl("apply", "-k", str(overlay))
    names = {"KERASJOB_NAMESPACE": "team-a", "KERASJOB_NAMESPACES": "team-a"}
    team = Operator(plane, "team-a", **names)
    team.start()
    try:
        job = {
            "apiVersion": "kerasjob.dev/v1alpha1",
            "kind": "KerasJob",
            "metadata": {"name": "own"},
            "spec": {"workers": 1, "program": {"source": "pass"}},
        }
        for namespace in ("team-b", "team-a"):
            plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(job))
        plane.kubectl("wait", "-n", "team-a", "--for=create", "--timeout=20s", "pod/own-0-0")
        ended = {"status": {"phase": "Succeeded"}}
        plane.kubectl(
            "patch", "-n", "team-a", "pod", "own-0-0", "--subresource=status", "--type=merge", "-p", json.dumps(ended)
        )
        plane.kubectl("wait", "-n", "team-a", "kj/own", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")
        assert "status" not in json.loads(plane.kubectl("get", "-n", "team-b", "kj/own", "-o", "json").stdout)
    finally:
        team.kill()
        plane.kubectl("delete", "namespace", "team-a", "team-b", "--wait=false")
        operator.start()
    user = "system:serviceaccount:team-a:kerasjob-operator"
    asked = requests(plane, user)
    assert asked
    assert [what for what, denied in asked if denied] == []
