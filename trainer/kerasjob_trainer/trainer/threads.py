"""What one worker does alone, outside of the strategy. Used where models are written."""

from __future__ import annotations

import threading
from collections.abc import Callable


def outside_of_strategy(function: Callable[[], None]) -> None:
    """Calls the function in a thread, where no strategy is in force, and waits for it. Raises what it raises.

    Variables that Keras makes as it writes or exports a model would else be agreed with workers that do not take part.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="alone")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
