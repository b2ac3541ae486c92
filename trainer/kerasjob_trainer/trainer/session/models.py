"""Which models a program trains, and which of them are not what they were at this point of it. Used by the session.

A program that goes on runs again from its beginning: calls of `fit` that are finished are skipped, and their model gets
the state that it had then. Of the states at the ends of calls only so many are kept. A model whose state is gone is
stale until a later call gives it one again: what is asked of it meanwhile is answered from the record, or warned of.
"""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import keras
from keras.src.backend.tensorflow import trainer as keras_trainer

from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.session.records import CallRecord

# States at the ends of calls: of so many calls where there is a store, and of the last call of so many models.
CALLS_KEPT = 16
MODELS_KEPT = 16

_ANSWERS = ("predict", "predict_on_batch", "test_on_batch", "train_on_batch")
_WRITES = ("save", "save_weights", "export")


def with_states(finished: list[CallRecord], num_calls: int) -> list[CallRecord]:
    """Of finished calls those whose states are kept: the last ones, and the last one of each model trained lately."""
    last: dict[int, CallRecord] = {}  # of each model
    for record in reversed(finished):
        if len(last) == MODELS_KEPT:
            break
        if record.checkpoint is not None:
            last.setdefault(record.model, record)
    kept = {record.call for record in (*last.values(), *finished[max(0, len(finished) - num_calls) :])}
    return [record for record in finished if record.call in kept and record.checkpoint is not None]


class Models:
    """The models of one program."""

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._next = 0
        self._stale: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def number(self, model: Any) -> int:
        """A model's number: how many were asked for before it."""
        if model not in self._numbers:
            self._numbers[model] = self._next
            self._next += 1
        return self._numbers[model]

    def set_stale(self, model: Any, call: int) -> None:
        """The model lacks the state that a call (from 0) gave it."""
        self._stale[model] = call

    def set_fresh(self, model: Any) -> None:
        """The model is what it was."""
        self._stale.pop(model, None)

    def is_stale(self, model: Any) -> bool:
        """Whether it lacks a state."""
        return model in self._stale

    def install(self) -> None:
        """Watches over what is asked of stale models, besides `fit` and `evaluate`."""
        for owner, names in ((keras_trainer.TensorFlowTrainer, _ANSWERS), (keras.Model, _WRITES)):
            for name in names:
                setattr(owner, name, self._watched(getattr(owner, name), writes=names is _WRITES))

    def _watched(self, method: Any, *, writes: bool) -> Any:
        @wraps(method)
        def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.is_stale(model):
                return method(model, *args, **kwargs)
            call = self._stale[model] + 1
            path = kwargs.get("filepath", args[0] if args else None)
            if writes and isinstance(path, (str, os.PathLike)) and Path(path).exists():
                log.info("%s: left as it is, for the state after fit call %d is not kept", path, call)
                return None
            log.warning(
                "%s of a model as fit call %d had left it: that state is not kept any more, so what comes of it is not"
                " what came of it before",
                method.__name__,
                call,
            )
            return method(model, *args, **kwargs)

        return watched
