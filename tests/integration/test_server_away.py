"""The API server goes and comes. After the test of rights: a fresh one denies everything until it knows its roles."""

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
