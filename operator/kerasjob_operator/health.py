"""`/healthz`, `/readyz` and `/metrics` of the operator. Healthy means: able to hear and to act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kerasjob_operator.lease import Lease
from kerasjob_operator.listings import Listings
from kerasjob_operator.metrics import REGISTRY
from kerasjob_operator.queue import WorkQueue
from kerasjob_operator.settings import OperatorSettings

OVERDUE_MAX_SECONDS = 120.0


def problems(
    tasks: Sequence[asyncio.Task[None]], queue: WorkQueue, listings: Listings, lease: Lease, settings: OperatorSettings
) -> list[str]:
    """Why this process should be replaced; empty where it is well."""
    found = [f"task {task.get_name()} has ended" for task in tasks if task.done()]
    if lease.is_held() and (overdue := queue.oldest_overdue_seconds()) > OVERDUE_MAX_SECONDS:
        found.append(f"a job has waited {overdue:.0f} s for a pass")
    if (age := time.monotonic() - listings.last) > 3 * settings.resync_seconds + 60:
        found.append(f"nothing was listed for {age:.0f} s")
    if listings.are_deaf:
        found.append("the watch of jobs does not tell of what listings find")
    return found


async def serve(
    tasks: Sequence[asyncio.Task[None]],
    queue: WorkQueue,
    listings: Listings,
    lease: Lease,
    settings: OperatorSettings,
) -> web.AppRunner:
    """Starts the server."""

    async def healthz(_request: web.Request) -> web.Response:
        found = problems(tasks, queue, listings, lease, settings)
        return web.Response(text="; ".join(found) or "ok", status=503 if found else 200)

    async def readyz(_request: web.Request) -> web.Response:
        ready = listings.are_ready
        return web.Response(text="ok" if ready else "starting", status=200 if ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        # With 10,000 jobs it takes a second, which passes and the Lease must not wait for.
        body = await asyncio.to_thread(generate_latest, REGISTRY)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, settings.port).start()
    return runner
