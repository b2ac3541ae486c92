"""Iterators over the data of epochs that are over go away in a thread: that may take a minute. Used by `iterators`.

The thread of TensorFlow's that tunes a pipeline sleeps for longer and longer, up to a minute, and can miss the word
that wakes it when its iterator goes. Who takes the last reference away waits for it: in Keras that is `fit`, at the
first step of the next epoch, with all other workers waiting for this one.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

# The thread that tunes has slept for as long as the iterator is old: of younger ones nobody waits long. There may be
# thousands, of a program that calls `predict` in a loop.
OLD_SECONDS = 1.0
# Until whoever else refers to it, as a function that returns, has let go.
PATIENCE_SECONDS = 1.0

_queue: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
_thread: threading.Thread | None = None


class Kept:
    """Refers to an iterator; once this goes, wherever that is, the iterator goes in the thread."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self._since = time.monotonic()

    def __del__(self) -> None:
        if time.monotonic() - self._since >= OLD_SECONDS:
            let_go(self.iterator)


def let_go(iterator: Any) -> None:
    """Has it go away. At the end of the process there is no thread, and nothing to wait for."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_run, name="old iterators", daemon=True)
        try:
            _thread.start()
        except RuntimeError:  # the interpreter ends
            return
    _queue.put((time.monotonic() + PATIENCE_SECONDS, iterator))


def _run() -> None:
    while True:
        due, iterator = _queue.get()
        time.sleep(max(0.0, due - time.monotonic()))
        del iterator
