"""The agent's HTTP server: protocol version 1 of docs/contracts.md. Started first, so that a worker can be asked.

Checks tokens and sizes, and translates; decides nothing.
"""

from __future__ import annotations

import hmac
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from kerasjob_api.codec import from_wire, to_wire
from kerasjob_api.wire import Ring, WorkerReport
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import Saved
from kerasjob_trainer.restore import RestorePoint
from kerasjob_trainer.sharing import Sent, Share
from kerasjob_trainer.watch import Watch

BODY_MAX_BYTES = 256 * 1024
_OPEN = ("/healthz", "/readyz", "/metrics")


@dataclass
class Refused(Exception):
    """The agent says no, with this HTTP status."""

    status: int
    message: str


class Api(Protocol):
    """What the server asks of the agent. Called from the server's threads; may raise Refused."""

    def readiness(self) -> str | None:
        """Why the worker is not ready; None where it is."""

    def report(self) -> WorkerReport: ...

    def take_ring(self, ring: Ring) -> WorkerReport: ...

    def restore_point(self, revision: int) -> RestorePoint: ...

    def held(self, revision: int) -> list[Saved]: ...

    def held_file(self, id_: str, name: str) -> Path | None: ...

    def send_share(self, id_: str, name: str, share: Share) -> Sent: ...

    def watch(self, revision: int) -> Watch: ...

    def moved(self, revision: int) -> float: ...

    def stop(self) -> None: ...

    def metrics(self) -> str: ...


def serve(host: str, port: int, token: str, api: Api) -> ThreadingHTTPServer:
    """Serves in threads of its own from now on, without a host at all addresses of the machine, of both families.

    Raises OSError where the port is taken.
    """
    handler = type("Handler", (_Handler,), {"api": api, "token": token.encode()})
    host = host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server: ThreadingHTTPServer = type("Server", (_Server,), {"address_family": family})((host, port), handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # all workers of a ring come to its leader at once

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)  # HTTPServer's own asks the name service for a name that nothing here uses
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class _Handler(BaseHTTPRequestHandler):
    api: Api
    token: bytes
    _after: Callable[[], None] | None
    protocol_version = "HTTP/1.1"
    timeout = 30  # of a client that does not finish its request
    server_version = "kerasjob-agent"

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_PUT(self) -> None:
        self._answered(self._put)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _get(self, path: str) -> tuple[int, Any]:
        if path == "/healthz":
            return 200, "ok"
        if path == "/readyz":
            problem = self.api.readiness()
            return (200, "ready") if problem is None else (503, problem)
        if path == "/metrics":
            return 200, self.api.metrics()
        if path == "/v1/status":
            return 200, to_wire(self.api.report())
        if path == "/v1/restore":
            revision = self._revision()
            point = self.api.restore_point(revision)
            return 200, {"revision": revision, "checkpoint": point.checkpoint, "from": point.rank}
        if path == "/v1/held":
            revision = self._revision()
            return 200, {"revision": revision, "held": [one.to_json() for one in self.api.held(revision)]}
        if path == "/v1/moved":
            revision = self._revision()
            return 200, {"revision": revision, "secondsAgo": self.api.moved(revision)}
        if path == "/v1/watch":
            return 200, self.api.watch(self._revision())
        if path.startswith("/v1/held/") and path.count("/") == 4:
            file = self.api.held_file(*path.split("/")[3:])
            if file is not None:
                return 200, file
        raise Refused(404, f"no such path: {path}")

    def _revision(self) -> int:
        text = parse_qs(urlsplit(self.path).query).get("revision", [""])[0]
        if not text.isdigit():
            raise Refused(400, "revision: expected a number")
        return int(text)

    def _put(self, path: str) -> tuple[int, Any]:
        if path != "/v1/ring":
            raise Refused(404, f"no such path: {path}")
        try:
            ring = from_wire(Ring, json.loads(self._body))
        except ValueError as error:
            raise Refused(400, f"not a ring: {error}") from error
        return 200, to_wire(self.api.take_ring(ring))

    def _post(self, path: str) -> tuple[int, Any]:
        if path == "/v1/share":
            try:
                asked = json.loads(self._body)
                share = from_wire(Share, asked["share"])
                return 200, to_wire(self.api.send_share(str(asked["checkpoint"]), str(asked["file"]), share))
            except (ValueError, KeyError, TypeError) as error:
                raise Refused(400, f"not a share: {error}") from error
        if path != "/v1/stop":
            raise Refused(404, f"no such path: {path}")
        self._after = self.api.stop  # the answer goes first: the agent may end at once
        return 202, to_wire(self.api.report())

    def _answered(self, handle: Any) -> None:
        path = urlsplit(self.path).path
        self._after = None
        try:
            self._read_body()
            if path not in _OPEN and not self._is_authorized():
                raise Refused(401, "missing or wrong token")
            status, answer = handle(path)
        except Refused as refused:
            status, answer = refused.status, refused.message
        except TimeoutError:
            status, answer = 503, "the agent is busy"
        except Exception:
            log.exception("a fault in the agent itself: %s %s", self.command, path)
            status, answer = 500, "a fault in the agent itself; see its log"
        if isinstance(answer, Path):
            self._send_file(answer)
            return
        if isinstance(answer, Watch):
            self._attend(answer)
            return
        is_text = isinstance(answer, str)
        data = (answer if is_text else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8" if is_text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if self._after is not None:
            self.wfile.flush()
            self._after()

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(file, self.wfile, 1024**2)

    def _attend(self, watch: Watch) -> None:
        """Answers when somebody is lost."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        watch.attend(self.connection)

    def _read_body(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_MAX_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refused(413, f"a body has at most {BODY_MAX_BYTES} bytes and says its length")
        self._body = self.rfile.read(int(length))

    def _is_authorized(self) -> bool:
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return hmac.compare_digest(given, b"Bearer " + self.token)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: polls and probes come every second."""
