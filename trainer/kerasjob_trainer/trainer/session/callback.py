"""The session's eyes inside a `fit`: appended to the program's own callbacks, after all of them.

Reports progress, restores the state once the program's callbacks have begun, tells where an epoch has ended.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import keras

from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.records import CallRecord, plain

# Callbacks that run in threads of Keras's are behind by a few steps at most.
BEHIND_SECONDS = 60.0


class Hooks(Protocol):
    """What the session does at these moments."""

    def training_begins(self) -> None:
        """The program's callbacks have begun; the first epoch has not."""

    def validation_goes_on(self) -> None:
        """After a batch of a validation."""

    def epoch_ended(self, epoch: int, *, is_last: bool) -> None:
        """An epoch has ended, with its validation and the program's callbacks."""


class SessionCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """One per call of `fit`."""

    # Keras may call the batch hooks from its threads then, as it would without us.
    async_safe = True

    def __init__(self, record: CallRecord, meter: Meter, hooks: Hooks, epochs: int) -> None:
        super().__init__()
        self._record, self._meter, self._hooks, self._epochs = record, meter, hooks, epochs
        self._finished_epochs = list(record.epochs)
        self._steps: int | None = None
        self._seen = threading.Condition()
        self.num_seen = 0  # batches whose callbacks have run, since the start of the call
        self.samples: int | None = None

    def has_seen(self, number: int) -> bool:
        """Waits until the callbacks of so many batches, since the start of the call, have run."""
        with self._seen:
            seen = self._seen.wait_for(lambda: self.num_seen >= number, BEHIND_SECONDS)
        if not seen:
            log.warning("the callbacks are behind by %d batches: nothing is saved", number - self.num_seen)
        return seen

    def on_train_begin(self, logs: Any = None) -> None:
        self._hooks.training_begins()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._finished_epochs:
            history = self.model.history
            history.epoch = list(self._finished_epochs)
            history.history = {key: list(values) for key, values in self._record.history.items()}
            self._finished_epochs = []
        self._meter.begin_epoch(epoch, self.params.get("steps") or self._steps, self.samples)
        self._batches = 0

    def skipped(self, steps: int) -> None:
        """So many steps of the epoch were done before."""
        self._batches = max(self._batches, steps)
        self._meter.skip(steps)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches = max(self._batches, batch + 1)
        self._meter.step(batch + 1, logs or {})
        with self._seen:
            self.num_seen += 1
            self._record.logs = logs or {}
            self._seen.notify_all()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._hooks.validation_goes_on()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        self._steps = self._batches
        self._record.epochs.append(epoch)
        for key, value in logs.items():
            self._record.history.setdefault(key, []).append(plain(value))
        self._meter.flush(logs)
        is_last = epoch + 1 >= self._epochs or self.model.stop_training
        self._hooks.epoch_ended(epoch, is_last=is_last)
