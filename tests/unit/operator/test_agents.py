"""Requests to agents: what may come back from a pod that runs a stranger's program."""

import asyncio
import json
import time

import pytest
from aiohttp import web

from kerasjob_api.wire import Member, Ring
from kerasjob_core.cluster import Unavailable
from kerasjob_core.observed import Endpoint
from kerasjob_operator import agents as agents_module
from kerasjob_operator.agents import Agents

REPORT = {"protocol": 1, "slot": 0, "incarnation": 0, "revision": 0, "state": "ready"}
UID = "1234"


@pytest.fixture
async def agents():
    agents = Agents(b"key")
    yield agents
    await agents.close()


@pytest.fixture
async def serve():
    """Starts a server that handles every request so; its endpoint."""
    runners = []

    async def start(handler):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return Endpoint("127.0.0.1", runner.addresses[0][1], 8480)

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_a_report_is_asked_for_with_the_jobs_token(agents, serve):
    seen = []

    async def handler(request):
        seen.append((request.method, request.path, request.headers["Authorization"]))
        return web.json_response(REPORT)

    endpoint = await serve(handler)
    assert (await agents.report(endpoint, UID)).state == "ready"
    (report,) = await agents.push_rings([(endpoint, Ring(UID, 1, (Member(0, 0, "h", 1, 2),)))])
    assert report.state == "ready"
    token = f"Bearer {agents.token(UID)}"
    assert seen == [("GET", "/v1/status", token), ("PUT", "/v1/ring", token)]
    assert agents.token(UID) != agents.token("other")


async def test_a_report_that_comes_in_pieces_is_read_to_its_end(agents, serve):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in json.dumps(REPORT):
            await response.write(piece.encode())
        return response

    assert (await agents.report(await serve(handler), UID)).state == "ready"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 20_000, "depth limit"),
        (b" " * 70_000, "over 65536 bytes"),
        (b"not json", "invalid literal"),
        (b"[]", "expected an object"),
        (json.dumps(REPORT | {"revision": "one"}).encode(), "revision: expected int"),
        (b'{"slot": 0, "incarnation": 0, "revision": NaN, "state": "x"}', "unexpected character"),
    ],
)
async def test_what_is_no_report_is_refused(agents, serve, body, words):
    async def handler(_request):
        return web.Response(body=body)

    with pytest.raises(Unavailable, match=words):
        await agents.report(await serve(handler), UID)


async def test_an_agent_cannot_send_the_operator_elsewhere(agents, serve):
    asked = []

    async def elsewhere(request):
        asked.append(request.path)
        return web.json_response(REPORT)

    other = await serve(elsewhere)

    async def handler(_request):
        raise web.HTTPFound(f"http://{other.host}:{other.agent_port}/secret")

    with pytest.raises(Unavailable, match="302"):
        await agents.report(await serve(handler), UID)
    assert asked == []


async def test_the_agents_own_words_are_kept(agents, serve):
    async def handler(_request):
        return web.Response(status=409, text="revision 3 is in force")

    with pytest.raises(Unavailable, match="409 revision 3 is in force"):
        await agents.report(await serve(handler), UID)


async def test_nobody_there(agents):
    with pytest.raises(Unavailable, match="GET /v1/status"):
        await agents.report(Endpoint("127.0.0.1", 1, 8480), UID)


async def test_agents_that_are_cut_off_cost_a_pass_seconds_and_keep_the_ring_from_nobody(agents, serve, monkeypatch):
    """Their connections are taken and never answered."""
    monkeypatch.setattr(agents_module, "PUSHES_SECONDS", 1.0)
    asked = []

    async def silent(_request):
        asked.append(1)
        await asyncio.sleep(60)

    async def handler(_request):
        return web.json_response(REPORT)

    good, bad = await serve(handler), await serve(silent)
    ring = Ring(UID, 1, (Member(0, 0, "h", 1, 2),))
    began = time.monotonic()
    answers = await agents.push_rings([(bad, ring)] * 10 + [(good, ring)] * 54)
    assert time.monotonic() - began < 3
    assert len(asked) == 10, "they are asked at the same time"
    assert [isinstance(answer, Unavailable) for answer in answers] == [True] * 10 + [False] * 54


async def test_a_ring_is_encoded_once_for_all(agents, serve, monkeypatch):
    encoded, got = [], set()

    def to_wire(ring):
        encoded.append(ring)
        return {"job": ring.job}

    async def handler(request):
        got.add(await request.read())
        return web.json_response(REPORT)

    monkeypatch.setattr(agents_module, "to_wire", to_wire)
    endpoint, ring = await serve(handler), Ring(UID, 1, (Member(0, 0, "h", 1, 2),))
    await agents.push_rings([(endpoint, ring)] * 64)
    assert encoded == [ring]
    assert got == {b'{"job":"1234"}'}
