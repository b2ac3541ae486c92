"""Requests to agents: push the ring, ask for the report. The token is the operator's key over the job's uid."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import aiohttp

from kerasjob_api.constants import WORKER_REPORT_MAX_BYTES
from kerasjob_api.wire import Ring, WorkerReport, from_wire, to_wire
from kerasjob_core.cluster import Unavailable
from kerasjob_core.observed import Endpoint
from kerasjob_operator.metrics import AGENT_REQUESTS

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
AT_ONCE = 64


class Agents:
    """One HTTP pool for all agents."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    def token(self, job_uid: str) -> str:
        """A job's token. It is never read back: who has the key can make it."""
        return hmac.new(self._key, job_uid.encode(), hashlib.sha256).hexdigest()

    async def push_ring(self, endpoint: Endpoint, ring: Ring) -> WorkerReport:
        """Gives the ring to an agent. Raises Unavailable."""
        return await self._request("PUT", endpoint, "/v1/ring", ring.job, to_wire(ring))

    async def report(self, endpoint: Endpoint, job_uid: str) -> WorkerReport:
        """What an agent says of itself. Raises Unavailable."""
        return await self._request("GET", endpoint, "/v1/status", job_uid)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(self, method: str, endpoint: Endpoint, path: str, uid: str, body: Any = None) -> WorkerReport:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        url = f"http://{host}:{endpoint.agent_port}{path}"
        what = f"{method} {path}"
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        try:
            async with (
                self._slots,
                self._session.request(
                    method, url, json=body, headers={"Authorization": f"Bearer {self.token(uid)}"}
                ) as response,
            ):
                text = await response.content.read(WORKER_REPORT_MAX_BYTES + 1)
                if response.status != 200:
                    raise Unavailable(f"{what} to {url}: {response.status} {text[:200].decode(errors='replace')}")
                if len(text) > WORKER_REPORT_MAX_BYTES:
                    raise Unavailable(f"{what} to {url}: the answer is over {WORKER_REPORT_MAX_BYTES} bytes")
                report = from_wire(WorkerReport, json.loads(text))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            AGENT_REQUESTS.labels(what, "error").inc()
            raise Unavailable(f"{what} to {url}: {error or type(error).__name__}") from error
        except Unavailable:
            AGENT_REQUESTS.labels(what, "error").inc()
            raise
        AGENT_REQUESTS.labels(what, "ok").inc()
        return report
