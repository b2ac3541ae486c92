"""The agent's HTTP protocol, version 1 (docs/contracts.md), from the side of the local runner.

Blocking calls of the standard library (proxies of the environment are for others); the body makes them in threads.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.constants import WORKER_REPORT_MAX_BYTES
from kerasjob_api.wire import Ring, WorkerReport
from kerasjob_core.cluster import Unavailable
from kerasjob_core.observed import Endpoint

# An agent on the same machine answers in milliseconds; with all cores busy, in a second or two.
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class AgentClient:
    """Speaks with the agents of one job. Every call raises Unavailable where there is no good answer."""

    token: str

    def report(self, endpoint: Endpoint) -> WorkerReport:
        """The agent's word on itself."""
        return self._reported(endpoint, "GET", "/v1/status", None)

    def push_ring(self, endpoint: Endpoint, ring: Ring) -> WorkerReport:
        """Gives the ring to the agent."""
        return self._reported(endpoint, "PUT", "/v1/ring", to_wire(ring))

    def is_ready(self, endpoint: Endpoint) -> bool:
        """Whether program and data are in place."""
        status, _ = self._ask(endpoint, "GET", "/readyz", None)
        return status == 200

    def _reported(self, endpoint: Endpoint, method: str, path: str, body: Any) -> WorkerReport:
        status, answer = self._ask(endpoint, method, path, body)
        if status != 200:
            raise Unavailable(f"{method} {path}: {status} {answer[:200].decode(errors='replace')}")
        try:
            return from_wire(WorkerReport, json.loads(answer))
        except ValueError as error:
            raise Unavailable(f"{method} {path}: not a worker report: {error}") from error

    def _ask(self, endpoint: Endpoint, method: str, path: str, body: Any) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.agent_port, timeout=TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read(WORKER_REPORT_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        finally:
            connection.close()
