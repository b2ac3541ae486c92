"""A proxy before a real S3 server, for the faults that it cannot be made to show."""

import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
_ANSWERS = {
    "InternalError": (500, "We encountered an internal error"),
    "SlowDown": (503, "Please reduce your request rate"),
    "ServiceUnavailable": (503, "Reduce your request rate"),
    "ExpiredToken": (400, "The provided token has expired"),
    "QuotaExceeded": (507, "The disk is full"),
}


class FaultyS3:
    """Passes requests on to a server; those that match `method` get a fault as long as there are `times` left.

    Faults: an S3 error code, `reset` (the connection, in the middle of the body), `silence` (no answer), `damage` (what
    is stored is something else).
    """

    def __init__(self, target: str) -> None:
        self.host, self.port = target.removeprefix("http://").split(":")
        self.fault, self.method, self.times, self.shown = "", "", 0, 0
        self._lock = threading.Lock()
        self.quiet = threading.Event()  # ends all silence
        handler = type("Handler", (_Handler,), {"world": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def show(self, fault: str, method: str, times: int) -> None:
        with self._lock:
            self.fault, self.method, self.times, self.shown = fault, method, times, 0

    def next_fault(self, method: str) -> str:
        with self._lock:
            if method != self.method or self.times <= 0:
                return ""
            self.times -= 1
            self.shown += 1
            return self.fault

    def close(self) -> None:
        self.quiet.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    world: FaultyS3
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        fault, length = self.world.next_fault(self.command), int(self.headers.get("Content-Length") or 0)
        if fault == "reset":
            self.rfile.read(length // 2)
            with contextlib.suppress(OSError):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
            return
        if self.headers.get("Expect", "").lower() == "100-continue" and self.command not in ("PUT",):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(length)
        if fault == "silence":
            self.world.quiet.wait()
            self.close_connection = True
            return
        if fault in _ANSWERS:
            status, message = _ANSWERS[fault]
            self._answer(status, {}, _ERROR.format(code=fault, message=message).encode())
            return
        if fault == "damage":
            body = bytes(len(body))
        connection = http.client.HTTPConnection(self.world.host, int(self.world.port), timeout=30)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            self._answer(response.status, dict(response.getheaders()), content, response.headers["Content-Length"])

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

    def _answer(self, status: int, headers: dict, content: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass
