"""The agent's one thread of decisions: others hand it functions to call, so that its state needs no locks.

Used by `agent` and `supervisor`. Nothing that blocks may run here.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from kerasjob_trainer.log import log

T = TypeVar("T")


class Loop:
    """Calls what is posted, in order; calls `tick` every so often."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Has the function called by the loop. From any thread, and from a signal handler."""
        self._queue.put(lambda: function(*args))

    def call(self, function: Callable[..., T], *args: Any, timeout_seconds: float = 10.0) -> T:
        """Has the function called by the loop and answers its result. Not from the loop itself."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self._queue.put(run)
        return future.result(timeout_seconds)

    def run(self, tick: Callable[[], None], interval_seconds: float = 0.25) -> None:
        """Never returns: the agent ends by `os._exit`."""
        due = time.monotonic() + interval_seconds
        while True:
            try:
                function = self._queue.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                function = tick
                due = time.monotonic() + interval_seconds
            try:
                function()
            except Exception:
                log.exception("a fault in the agent itself")
