"""That a worker of a ring is lost is known to all of them at once, and not only when TensorFlow finds out.

Each worker's agent keeps a connection to the leader's. It ends when the worker's trainer ends, or the agent, or the
pod; the leader's agent then answers all others, and ends its own trainer's wait. A network that is cut ends no
connection: that is found by TensorFlow's heartbeat. Made by the supervisor for each trainer.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import threading
import weakref
from collections.abc import Callable

from kerasjob_api.wire import Ring

CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 0.2
GONE = 410  # the leader's own trainer is lost already


class Watch:
    """Of one ring. `lost` is called once, in a thread, when another worker is lost."""

    def __init__(self, ring: Ring, rank: int, token: str, lost: Callable[[], None]) -> None:
        self._ring, self._rank, self._token = ring, rank, token
        self._lost = lost
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._over = os.eventfd(0)  # readable once it is over: all who attend wake up
        weakref.finalize(self, os.close, self._over)
        self._connection: socket.socket | None = None
        if rank > 0:
            threading.Thread(target=self._follow, name="watch", daemon=True).start()

    def attend(self, member: socket.socket) -> None:
        """As the leader, for one member's connection: returns when somebody is lost, the member or another one."""
        poll = select.poll()
        poll.register(member, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        poll.poll()
        self._end(tell=True)

    def close(self) -> None:
        """This worker's own trainer is lost, or there is a newer ring."""
        self._end(tell=False)

    def _end(self, *, tell: bool) -> None:
        with self._lock:
            if self._is_over.is_set():
                return
            self._is_over.set()
            os.eventfd_write(self._over, 1)
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
        if tell:
            self._lost()

    def _follow(self) -> None:
        """As a member: until the leader's agent answers, or its connection ends."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._ask():
                    self._end(tell=True)
            if self._is_over.wait(AGAIN_SECONDS):  # the leader has not begun yet
                return

    def _ask(self) -> bool:
        """Whether somebody is lost; False where the leader has not begun yet."""
        leader = self._ring.members[0]
        connection = http.client.HTTPConnection(leader.host, leader.agent_port, timeout=CONNECT_SECONDS)
        with contextlib.closing(connection):
            connection.connect()
            with self._lock:
                self._connection = sock = connection.sock
            headers = {"Authorization": f"Bearer {self._token}"}
            connection.request("GET", f"/v1/watch?revision={self._ring.revision}", headers=headers)
            response = connection.getresponse()
            if response.status == 200:
                sock.settimeout(None)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    response.read()
            return response.status in (200, GONE)
