"""The session's eyes inside a `fit`: appended to the program's own callbacks, after all of them.

Reports progress, restores the state once the program's callbacks have begun, saves where an epoch ends.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras

from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.records import CallRecord, plain


class Hooks(Protocol):
    """What the session does at these moments."""

    def restore_state(self, model: Any) -> None:
        """The program's callbacks have begun; the first epoch has not."""

    def epoch_ended(self, model: Any, epoch: int, *, is_last: bool) -> None:
        """An epoch has ended, with its validation and the program's callbacks."""


class SessionCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """One per call of `fit`. `resumes`: with finished epochs in `record`."""

    # Keras may call the batch hooks from its threads then, as it would without us.
    async_safe = True

    def __init__(self, record: CallRecord, meter: Meter, hooks: Hooks, epochs: int) -> None:
        super().__init__()
        self._record, self._meter, self._hooks, self._epochs = record, meter, hooks, epochs
        self._finished_epochs = list(record.epochs)
        self._steps: int | None = None
        self.samples: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._hooks.restore_state(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._finished_epochs:
            history = self.model.history
            history.epoch = list(self._finished_epochs)
            history.history = {key: list(values) for key, values in self._record.history.items()}
            self._finished_epochs = []
        self._meter.begin_epoch(epoch, self.params.get("steps") or self._steps, self.samples)
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches = max(self._batches, batch + 1)
        self._meter.step(batch + 1, logs or {})

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._meter.beat()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        self._steps = self._batches
        self._record.epochs.append(epoch)
        for key, value in logs.items():
            self._record.history.setdefault(key, []).append(plain(value))
        self._meter.flush(logs)
        is_last = epoch + 1 >= self._epochs or self.model.stop_training
        self._hooks.epoch_ended(self.model, epoch, is_last=is_last)
