"""The API server goes and comes. After the test of rights: a fresh one denies everything until it knows its roles."""

import signal

from tests.integration.conftest import failure, start


def test_an_api_server_that_was_away_is_heard_again(jobs, kubelet, operator, plane):
    start(jobs, kubelet, "through", 90)
    plane.kill("kube-apiserver")
    plane.start_again("kube-apiserver")
    jobs.apply("after")
    jobs.wait_for_pods("after-0-0", "after-1-0")
    kubelet.end("through-0-0", 0, failure(reason="Done"))
    status = jobs.wait("through", ".status.phase", "Succeeded", 30)["status"]
    assert (status["restarts"], status["disruptions"], status["ring"]["revision"]) == (0, 0, 1)
    assert operator.get("/healthz") == "ok"


def test_410_gone_what_was_missed_is_found_by_a_new_list(jobs, kubelet, operator, plane):
    start(jobs, kubelet, "kept", 92)
    operator.signal(signal.SIGSTOP)
    try:
        # A server that starts knows no version older than its start, and by this one the operator's are older.
        plane.kubectl("create", "configmap", "something-else")
        plane.kill("kube-apiserver")
        plane.start_again("kube-apiserver")
        jobs.apply("missed")
        plane.kubectl("delete", "pod", "kept-1-0", "--force", "--grace-period=0")
    finally:
        operator.signal(signal.SIGCONT)
    jobs.wait_for_pods("missed-0-0", "missed-1-0", "kept-1-1")
    assert "forgotten where the watch of pods was" in operator.log.read_text()
