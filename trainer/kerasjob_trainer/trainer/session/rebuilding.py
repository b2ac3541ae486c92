"""Data and variables of a call as they were after its finished epochs. Used by the session and its calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from kerasjob_trainer.global_batch.specs import symbolic_batch
from kerasjob_trainer.trainer.session import randomness, seeking, variables
from kerasjob_trainer.trainer.session.records import CallRecord


def rebuild(
    iterator: Any, model: Any, record: CallRecord, arguments: dict[str, Any], beat: Callable[[], None]
) -> frozenset[str]:
    """Data after the epochs that are finished, and all variables made that training would have made by then.

    Answers which global random states have moved: data that draws from one is where reading has brought it, which may
    be ahead, and so must be the state. `beat`: called as it comes forward.
    """
    before = randomness.capture()
    seeking.skip(iterator, record.epochs, model, arguments, beat)
    moved = randomness.moved_since(before)
    with _unbuilt_stay_so(model, record):
        model._symbolic_build(data_batch=symbolic_batch(iterator))
    variables.build_optimizers(model, record.trained)
    return moved


@contextlib.contextmanager
def _unbuilt_stay_so(model: Any, record: CallRecord) -> Iterator[None]:
    """`compile` gives every model an optimizer; one that a program does not use is never built."""
    optimizer, trained = getattr(model, "optimizer", None), record.trained
    if optimizer is None or optimizer.built or not trained or trained[0] is not None:
        yield
        return
    optimizer.built = True
    try:
        yield
    finally:
        optimizer.built = False
