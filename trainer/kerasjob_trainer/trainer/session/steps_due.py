"""Where a trainer has to move: in `fit`, `evaluate` and `predict`. Used by the session.

The agent ends one that makes no step there for `stallTimeoutSeconds`. What a program does in between, such as reading
its data, may take as long as it likes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kerasjob_trainer.trainer.control import Control


class StepsDue:
    """Of one trainer."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._depth = 0

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """Around a call that is made of steps; it may be made within another one, by a callback."""
        self._depth += 1
        if self._depth == 1:
            self._control.send("watched", on=True)
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._control.send("watched", on=False)
