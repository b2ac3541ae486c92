"""The client against a server of the tests' that answers as an API server does."""

import asyncio
import json
import time

import pytest
from aiohttp import web
from kubernetes.aio import client

from kerasjob_operator.api_client import ApiError, KubernetesApi
from kerasjob_operator.job_watch import JobWatch
from kerasjob_operator.listings import Listings, Scope
from kerasjob_operator.metrics import REGISTRY
from kerasjob_operator.pod_watch import PODS, PodWatch
from kerasjob_operator.store import Store


class Server:
    """Answers with what the test puts in, in order; remembers what was asked."""

    def __init__(self):
        self.answers = []
        self.asked = []

    async def handle(self, request):
        self.asked.append((request.method, request.path, dict(request.query)))
        answer = self.answers.pop(0)
        if callable(answer):
            return await answer(request)
        status, body, headers = answer
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
async def server():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def api(server):
    configuration = client.Configuration()
    configuration.host = server.url
    api = KubernetesApi(configuration)
    yield api
    await api.close()


def ok(body=None):
    return 200, body or {}, {}


def refused(code, reason, **headers):
    return code, {"kind": "Status", "reason": reason, "message": "words"}, headers


async def test_a_busy_server_is_left_alone_by_all_for_as_long_as_it_says(server, api):
    server.answers = [refused(429, "TooManyRequests", **{"Retry-After": "1"}), ok(), ok()]
    with pytest.raises(ApiError) as caught:
        await api.get(PODS, "a", "x")
    assert caught.value.retry_after == 1
    began = time.monotonic()
    await asyncio.gather(api.get(PODS, "a", "y"), api.create(PODS, "b", {}))
    assert time.monotonic() - began >= 0.9


async def test_who_must_not_write_only_reads(server, api):
    server.answers = [ok({"metadata": {}})]
    api.may_write = lambda: False
    await api.get(PODS, "a", "x")
    for write in (
        api.create(PODS, "a", {}),
        api.delete(PODS, "a", "x", "uid"),
        api.patch(PODS, "a", "x", []),
        api.replace(PODS, "a", "x", {}),
    ):
        with pytest.raises(ApiError, match="another operator leads"):
            await write
    assert [method for method, _, _ in server.asked] == ["GET"]


async def test_a_server_that_is_not_there_is_unreachable(server, api):
    async def drop(request):
        request.transport.close()
        return web.Response()

    server.answers = [drop, drop]  # what is only read is asked for twice
    with pytest.raises(ApiError) as caught:
        await api.get(PODS, "a", "x")
    assert caught.value.code == 0


# The watch of pods.


def pod(name, version, phase="Running"):
    slot, incarnation = name.split("-")[1:]
    labels = {"kerasjob.dev/job": "m", "kerasjob.dev/slot": slot, "kerasjob.dev/incarnation": incarnation}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": labels}, "status": {"phase": phase}}


def listing(version, *pods):
    return ok({"metadata": {"resourceVersion": str(version)}, "items": list(pods)})


def stream(*events, then_hang=False):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for kind, body in events:
            await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
        if then_hang:
            await asyncio.Event().wait()
        return response

    return answer


@pytest.fixture
async def watching(server, api):
    """Begins to watch with these answers, and waits until just these pods are known."""
    tasks = []

    async def begin(names, *answers):
        server.answers = list(answers)
        changed = asyncio.Event()
        store = Store("image", on_change=lambda _key: changed.set())
        tasks.append(asyncio.create_task(PodWatch(api, store, None, 300).run()))

        def known():
            return sorted(name for entry in store._entries.values() for name in entry.pods)

        async with asyncio.timeout(10):
            while server.answers or known() != names:
                changed.clear()
                await changed.wait()

    yield begin
    for task in tasks:
        task.cancel()


async def test_what_is_listed_and_what_comes_after_is_known(server, watching):
    await watching(
        ["m-1-0", "m-2-0", "m-3-0"],
        listing(5, pod("m-0-0", 3), pod("m-1-0", 4)),
        stream(("ADDED", pod("m-2-0", 6)), ("DELETED", pod("m-0-0", 7)), ("BOOKMARK", pod("m-9-9", 9))),
        stream(("ADDED", pod("m-3-0", 10)), then_hang=True),
    )
    assert [query.get("resourceVersion") for _, _, query in server.asked] == [None, "5", "9"], "it goes on from there"


@pytest.mark.parametrize("how", ["event", "answer"])
async def test_a_version_that_is_forgotten_means_to_list_again(watching, how):
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    await watching(
        ["m-1-0", "m-2-0"],
        listing(5, pod("m-0-0", 3)),
        stream(("ERROR", gone)) if how == "event" else (410, gone, {}),
        listing(9, pod("m-1-0", 8)),
        stream(("ADDED", pod("m-2-0", 10)), then_hang=True),
    )


async def test_a_watch_that_breaks_goes_on_from_where_it_was(server, watching, monkeypatch):
    monkeypatch.setattr("kerasjob_operator.pod_watch.LIST_AGAIN_SECONDS", 0.01)

    async def cut(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(json.dumps({"type": "ADDED", "object": pod("m-1-0", 8)}).encode() + b'\n{"type": "AD')
        request.transport.abort()
        return response

    last = stream(("ADDED", pod("m-2-0", 9)), then_hang=True)
    await watching(["m-0-0", "m-1-0", "m-2-0"], listing(5, pod("m-0-0", 3)), cut, last)
    assert server.asked[-1][2]["resourceVersion"] == "8"


async def test_the_oldest_listing_of_pods_is_told_and_none_before_each_namespace_was_listed(server, api):
    """Alert KerasJobOperatorDeaf asks for it; that jobs can be listed says nothing of pods."""
    store = Store("image")
    first, second = (PodWatch(api, store, namespace, 300) for namespace in ("team-a", "team-b"))
    Listings([Scope(watch._namespace, JobWatch(api, store, watch._namespace, 300), watch) for watch in (first, second)])

    def told():
        return REGISTRY.get_sample_value("kerasjob_last_resync_timestamp_seconds", {"resource": "pods"})

    server.answers = [listing(5), refused(403, "Forbidden"), listing(6)]
    began = time.time()
    await first._list()
    with pytest.raises(ApiError, match="Forbidden"):
        await second._list()
    assert told() == 0
    await second._list()
    assert began <= told() == first.listed_at <= second.listed_at


async def test_only_by_force_is_nobody_waited_for_and_always_it_is_this_pod_alone(server, api):
    bodies = []

    async def take(request):
        bodies.append(await request.json())
        return web.json_response({})

    server.answers = [take, take]
    await api.delete(PODS, "default", "job-0", "uid-1")
    await api.delete(PODS, "default", "job-0", "uid-1", force=True)
    assert [body["preconditions"] for body in bodies] == [{"uid": "uid-1"}] * 2
    assert [body.get("gracePeriodSeconds") for body in bodies] == [None, 0]
