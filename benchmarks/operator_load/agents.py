"""Agents of all pods in one process: it answers on every address of 127.0.0.0/8, which is what the pods' addresses are.

    python -m operator_load.agents [--progress]

An agent is whoever has the address that was called; which slot it is it learns from the ring.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from aiohttp import web

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.constants import AGENT_PORT
from kerasjob_api.wire import Progress, Ring, WorkerReport


class Agents:
    """What the agents of all pods know."""

    def __init__(self, progress: bool) -> None:
        self._progress = progress
        self._reports: dict[str, WorkerReport] = {}
        self._steps: dict[str, int] = {}

    async def take_ring(self, request: web.Request) -> web.Response:
        host = self._host(request)
        ring = from_wire(Ring, await request.json())
        (member,) = [member for member in ring.members if member.host == host]
        self._reports[host] = WorkerReport(member.slot, member.incarnation, ring.revision, "training")
        return self._answer(host)

    async def status(self, request: web.Request) -> web.Response:
        return self._answer(self._host(request))

    def _host(self, request: web.Request) -> str:
        assert request.transport is not None
        host: str = request.transport.get_extra_info("sockname")[0]
        if not host.startswith("127."):
            raise web.HTTPForbidden
        return host

    def _answer(self, host: str) -> web.Response:
        report = self._reports.get(host)
        if report is None:
            raise web.HTTPServiceUnavailable
        body: dict[str, Any] = to_wire(report)
        if self._progress:
            step = self._steps[host] = self._steps.get(host, 0) + 1
            body["progress"] = to_wire(Progress(0, 1, 10, step, 1000, total_step=step))
        return web.json_response(body)


async def serve(progress: bool) -> None:
    agents = Agents(progress)
    app = web.Application()
    app.router.add_put("/v1/ring", agents.take_ring)
    app.router.add_get("/v1/status", agents.status)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", AGENT_PORT, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--progress", action="store_true")
    asyncio.run(serve(parser.parse_args().progress))
