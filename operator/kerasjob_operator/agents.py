"""Requests to agents: push the ring, ask for the report. The token is the operator's key over the job's uid."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Sequence

import aiohttp
import orjson

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.constants import WORKER_REPORT_MAX_BYTES
from kerasjob_api.wire import Ring, WorkerReport
from kerasjob_core.cluster import Unavailable
from kerasjob_core.observed import Endpoint
from kerasjob_operator.metrics import AGENT_REQUESTS

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
# Of one job's ring: 64 agents that are cut off take 8 s; and when a pass goes on without those that it has not reached.
PUSHES_AT_ONCE = 16
PUSHES_SECONDS = 10.0


class SaysNo(Unavailable):
    """An agent, or a proxy before it, answers, but not with what it was asked for."""


class Agents:
    """One HTTP pool for all agents."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    def token(self, job_uid: str) -> str:
        """A job's token. It is never read back: who has the key can make it."""
        return hmac.new(self._key, job_uid.encode(), hashlib.sha256).hexdigest()

    async def push_rings(self, pushes: Sequence[tuple[Endpoint, Ring]]) -> list[WorkerReport | Unavailable]:
        """Gives a ring to each of several agents, some at a time; what each said. It ends in time, come what may: the
        job's pass waits for it."""
        bodies: dict[int, bytes] = {}
        for _, ring in pushes:
            if id(ring) not in bodies:  # of a thousand members, for each of whom it would be 100 KB
                bodies[id(ring)] = orjson.dumps(to_wire(ring))
        free = asyncio.Semaphore(PUSHES_AT_ONCE)
        late = Unavailable(f"PUT /v1/ring: not done within {PUSHES_SECONDS:.0f} s")
        answers: list[WorkerReport | Unavailable] = [late] * len(pushes)

        async def push(index: int, endpoint: Endpoint, ring: Ring) -> None:
            async with free:
                try:
                    answers[index] = await self._request("PUT", endpoint, "/v1/ring", ring.job, bodies[id(ring)])
                except Unavailable as error:
                    answers[index] = error

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PUSHES_SECONDS), asyncio.TaskGroup() as group:
                for index, (endpoint, ring) in enumerate(pushes):
                    group.create_task(push(index, endpoint, ring))
        return answers

    async def report(self, endpoint: Endpoint, job_uid: str) -> WorkerReport:
        """What an agent says of itself. Raises Unavailable."""
        return await self._request("GET", endpoint, "/v1/status", job_uid)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def _request(
        self, method: str, endpoint: Endpoint, path: str, uid: str, data: bytes | None = None
    ) -> WorkerReport:
        url = f"http://{endpoint.address}{path}"
        what = f"{method} {path}"
        headers = {"Authorization": f"Bearer {self.token(uid)}", "Accept-Encoding": "identity"}
        if self._session is None:
            # The user's program shares the agent's pod: its answers are nobody's word that they claim to be.
            # Nor are connections kept: each agent is asked now and then, and there are thousands.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=TIMEOUT,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                text = await _read(answer)
                if answer.status != 200:
                    AGENT_REQUESTS.labels(what, "error").inc()
                    raise SaysNo(f"{what} to {url}: {answer.status} {text[:200].decode(errors='replace')}")
                # It takes no NaN, and no number that is none.
                report = from_wire(WorkerReport, orjson.loads(text))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            AGENT_REQUESTS.labels(what, "error").inc()
            raise Unavailable(f"{what} to {url}: {str(error) or type(error).__name__}") from error
        AGENT_REQUESTS.labels(what, "ok").inc()
        return report


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body, or ValueError where it is too long."""
    text = b""
    async for chunk in answer.content.iter_any():
        text += chunk
        if len(text) > WORKER_REPORT_MAX_BYTES:
            raise ValueError(f"the answer is over {WORKER_REPORT_MAX_BYTES} bytes")
    return text
