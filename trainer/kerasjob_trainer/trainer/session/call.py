"""One `fit` in progress: goes on where it was interrupted, to the step, and says where it can be saved. Used by the
session.

A step boundary is where the step before has ended with all its callbacks, and the next batch has not been asked for:
the state of the model, of callbacks and of random generators is whole there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src import tree

from kerasjob_trainer.global_batch.specs import symbolic_batch
from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.session import callback_state, drift, iterators, randomness, variables
from kerasjob_trainer.trainer.session.callback import SessionCallback
from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.records import CallRecord, plain


class Call:
    """`resumes`: all tensors of the checkpoint that `record` is from; None for a call that begins anew."""

    def __init__(
        self,
        model: Any,
        arguments: dict[str, Any],
        record: CallRecord,
        meter: Meter,
        resumes: dict[str, Any] | None,
        at_boundary: Callable[[Call], None],
        at_epoch_end: Callable[[Call], None],
    ) -> None:
        self.model, self.record = model, record
        self._arguments, self._meter, self._resumes = arguments, meter, resumes
        self._at_boundary, self._at_epoch_end = at_boundary, at_epoch_end
        self._callback = SessionCallback(record, meter, self, arguments["epochs"])
        self._executions = 0  # of training steps, in this process
        self.total_step = meter.total_step  # since the start of the program
        self._logs: dict[str, Any] | None = None  # of the last step before the interruption, until there is another
        self._host_moved = False  # by reading data again
        self._num_steps: int | None = None  # of an epoch, where that is known
        self.steps_per_execution = int(model.steps_per_execution)
        if resumes is not None:
            arguments["initial_epoch"] = record.epoch
        given = arguments["callbacks"]
        if isinstance(given, keras.callbacks.CallbackList):
            self.callbacks = list(given.callbacks)
            given.append(self._callback)
            self._callback.set_model(model)
        else:
            self.callbacks = tree.flatten(given or [])
            arguments["callbacks"] = [*self.callbacks, self._callback]
        if resumes is not None:
            callback_state.will_append(self.callbacks)

    @property
    def epoch_ends_now(self) -> bool:
        """Whether the epoch has no further step and no validation, as far as that is known."""
        validates = self._arguments["validation_data"] is not None or self._arguments["validation_split"]
        return self._num_steps is not None and self.record.step >= self._num_steps and not validates

    @property
    def is_last_epoch(self) -> bool:
        return bool(self.record.epoch + 1 >= self._arguments["epochs"])

    def begin(self, iterator: Any) -> None:
        """The data is there and about to be used."""
        record = self.record
        drift.check(self.model, iterator, record.call, record.fingerprint)
        if self._resumes is not None:
            self._host_moved = rebuild(iterator, self.model, record, self._arguments)
        iterators.wrap_steps(iterator, self._steps)
        batch_size, self._callback.samples = iterators.num_samples_per_epoch(iterator)
        self._meter.begin_fit(
            record.call, self._arguments["initial_epoch"], self._arguments["epochs"], iterator.num_batches, batch_size
        )

    def training_begins(self) -> None:
        if self._resumes is None:
            return
        self._restore(host=not self._host_moved)
        if self.record.step == 0:
            self._resumes = None
        else:
            randomness.restore(self.record.random_epoch, host=not self._host_moved)

    def _steps(self, iterator: Any, steps: Iterator[iterators.Step]) -> Iterator[iterators.Step]:
        """The steps of an epoch, without those that were done before."""
        record, done = self.record, 0
        self._num_steps = iterator.num_batches
        if self._resumes is not None:
            done = record.step
        else:
            record.random_epoch = randomness.capture()
        began, before = time.monotonic(), randomness.of_host(randomness.capture())
        for begin, end, source in steps:
            if begin < done:
                try:
                    iterators.read(iterator, source)
                except tf.errors.OutOfRangeError:
                    self._arrive(before, began)
                    raise
                continue
            self._arrive(before, began)
            yield begin, end, source
            self._logs = None
            self._executions += 1
            self.total_step += end + 1 - begin
            record.step = end + 1
            self._at_boundary(self)
        self._arrive(before, began)

    def _arrive(self, before: tuple[Any, Any], began: float) -> None:
        """The data is where it was: so must be all that the epoch's first steps had changed."""
        if self._resumes is None:
            return
        moved = self._host_moved or randomness.of_host(randomness.capture()) != before
        self._restore(host=not moved)
        self._resumes, self._logs = None, self.record.logs
        self._callback.skipped(self.record.step)
        log.info(
            "fit call %d goes on in epoch %d after step %d; data brought there in %.2f s",
            self.record.call + 1,
            self.record.epoch + 1,
            self.record.step,
            time.monotonic() - began,
        )

    def _restore(self, *, host: bool = True) -> None:
        assert self._resumes is not None
        values, of_callbacks = callback_state.split(self._resumes)
        variables.assign(self.model, values, "the checkpoint")
        callback_state.restore(self.callbacks, self.record.callbacks, of_callbacks)
        randomness.restore(self.record.random, host=host)
        self._meter.total_step = self.total_step = self.record.total_step

    def logs_of_epoch(self, logs: Any) -> Any:
        """What Keras takes for the logs of an epoch's last step; those of before where there was no step since."""
        before, self._logs = self._logs, None
        return before if before is not None and not logs else logs

    def epoch_ended(self, epoch: int, *, is_last: bool) -> None:
        record = self.record
        record.epoch, record.step, record.logs = epoch + 1, 0, {}
        if not is_last:
            self._at_epoch_end(self)

    def capture(self) -> dict[str, Any] | None:
        """Brings the record up to date; answers all tensors. None where that cannot be told now."""
        if not self._callback.has_seen(self._executions):
            return None
        record = self.record
        record.random = randomness.capture()
        record.total_step = self.total_step
        record.logs = plain(record.logs)
        record.trained = variables.optimized(self.model)
        record.callbacks, tensors = callback_state.capture(self.callbacks)
        return variables.snapshot(self.model) | tensors


def rebuild(iterator: Any, model: Any, record: CallRecord, arguments: dict[str, Any]) -> bool:
    """Data after the epochs that are finished, and all variables made that training would have made by then.

    Answers whether Python's or numpy's random state has moved: data that draws from it is where reading has brought it,
    which may be ahead, and so must be the state.
    """
    started, before = time.monotonic(), randomness.of_host(randomness.capture())
    iterators.skip(iterator, record.epochs, model, arguments)
    moved = randomness.of_host(randomness.capture()) != before
    with _unbuilt_stay_so(model, record):
        model._symbolic_build(data_batch=symbolic_batch(iterator))
    variables.build_optimizers(model, record.trained)
    log.info("data brought to epoch %d in %.2f s", len(record.epochs) + 1, time.monotonic() - started)
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
