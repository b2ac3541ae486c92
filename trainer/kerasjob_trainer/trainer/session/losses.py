"""The loss of another worker, which a program may not swallow: it is remembered whatever the program makes of it.

Used by the session, around all that waits for other workers.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

from kerasjob_trainer.trainer.failure import PeerLost, lost_peer


class Losses:
    """Of one trainer. `rescue`: called once, at the first, to tell what this worker holds."""

    def __init__(self, num_workers: int, rescue: Callable[[], None]) -> None:
        self._num_workers, self._rescue = num_workers, rescue
        self.first: BaseException | None = None  # what TensorFlow said

    def check(self) -> None:
        """Raises PeerLost where a peer was lost, whatever the program has made of that: it cannot go on."""
        if self.first is not None:
            raise PeerLost("another worker was lost: the program is run again from where it was") from self.first

    def remember(self, error: BaseException) -> None:
        """A peer was lost."""
        if self.first is not None:
            return
        self.first = error
        with contextlib.suppress(ValueError):  # not in the main thread, where it cannot arrive
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._rescue()

    @contextlib.contextmanager
    def remembered(self) -> Iterator[None]:
        """Around what waits for the other workers. The loss of one is raised as PeerLost."""
        self.check()
        try:
            yield
        except Exception as error:
            if self._num_workers == 1 or not lost_peer(error):
                raise
            self.remember(error)
            self.check()

    def remembering(self, method: Any, is_inside: Callable[[], bool]) -> Any:
        """A method of Keras's that waits for the others. `is_inside`: whether it is part of a call that remembers."""

        @functools.wraps(method)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with contextlib.nullcontext() if is_inside() else self.remembered():
                return method(*args, **kwargs)

        return wrapped
