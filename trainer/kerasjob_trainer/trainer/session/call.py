"""One `fit` in progress: goes on where it was interrupted, to the step, and tells its state where that is whole.

Used by the session.

A step boundary is where the step before has ended with all its callbacks, and the next batch has not been asked for:
the state of the model, of callbacks and of random generators is whole there. A validation changes nothing but metrics,
so that the boundary before it can be told until it ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.session import callback_state, drift, fingerprints, iterators, randomness, variables
from kerasjob_trainer.trainer.session.callback import SessionCallback
from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.rebuilding import rebuild
from kerasjob_trainer.trainer.session.records import CallRecord, plain

Tensors = dict[str, np.ndarray[Any, Any]]

NOT_TO_THE_BIT = (
    "some of TensorFlow's kernels for GPUs add in any order, so that no two runs are the same to the bit: they are with"
    " TF_DETERMINISTIC_OPS=1 in spec.env or tf.config.experimental.enable_op_determinism()"
)


class Moment(Enum):
    """What a call is doing."""

    BEGINNING = "beginning"  # of the call, or of an epoch
    BOUNDARY = "boundary"
    STEP = "step"
    VALIDATION = "validation"  # or what else Keras does after the steps of an epoch


class Hooks(Protocol):
    """What the session does at these moments. Each may save the call, or end the process."""

    def at_boundary(self, call: Call) -> None:
        """After a step."""

    def in_validation(self, call: Call) -> None:
        """After a batch of a validation."""

    def at_epoch_end(self, call: Call) -> None:
        """After an epoch which is not the last one."""


class Call:
    """`resumes`: all tensors of the checkpoint that `record` is from; None for a call that begins anew."""

    def __init__(
        self,
        model: Any,
        arguments: dict[str, Any],
        record: CallRecord,
        meter: Meter,
        resumes: dict[str, Any] | None,
        hooks: Hooks,
    ) -> None:
        self.model, self.record = model, record
        self._arguments, self._meter, self._resumes, self._hooks = arguments, meter, resumes, hooks
        self._callback = SessionCallback(record, meter, self, arguments["epochs"])
        self._executions = 0  # of training steps, in this process
        self.total_step = meter.total_step  # since the start of the program
        self._moved: frozenset[str] = frozenset()  # random states, by reading data again
        self._seek_seconds = 0.0
        self._num_steps: int | None = None  # of an epoch, where that is known
        self.steps_per_execution = int(model.steps_per_execution)
        self._logs: dict[str, Any] | None = None  # of the last step before the interruption, until there is another
        self._moment, self._end = Moment.BEGINNING, 0
        self._whole_steps: Any = None  # of the train function, where several workers make one
        self._num_whole = 0  # steps that were whole at the last boundary
        self._random: randomness.Mark | None = None
        self._callbacks_then: callback_state.Mark | None = None
        self._metrics_then: Tensors = {}
        if resumes is not None:
            arguments["initial_epoch"] = record.epoch
        self.callbacks = callback_state.given(arguments)
        if isinstance(arguments["callbacks"], keras.callbacks.CallbackList):
            arguments["callbacks"].append(self._callback)
            self._callback.set_model(model)
        else:
            arguments["callbacks"] = [*self.callbacks, self._callback]
        self._begin_batches = callback_state.begin_batches(self.callbacks)
        if resumes is not None:
            callback_state.will_append(self.callbacks)

    @property
    def is_in_step(self) -> bool:
        """Whether a training step is being made."""
        return self._moment is Moment.STEP

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
        drift.check(self.model, iterator, record.call, fingerprints.of_call(record.fingerprint))
        if self._resumes is not None:
            started = time.monotonic()
            self._moved = rebuild(iterator, self.model, record, self._arguments, self._meter.beat)
            self._seek_seconds = time.monotonic() - started
            log.info("data brought to epoch %d in %.2f s", record.epoch + 1, self._seek_seconds)
            self._meter.sought(self._seek_seconds)
            if tf.config.list_physical_devices("GPU") and not is_op_determinism_enabled():
                log.info("%s", NOT_TO_THE_BIT)
        iterators.wrap_steps(iterator, self._steps)
        batch_size, self._callback.samples = iterators.num_samples_per_epoch(iterator)
        self._meter.begin_fit(
            record.call, self._arguments["initial_epoch"], self._arguments["epochs"], iterator.num_batches, batch_size
        )

    def training_begins(self) -> None:
        self._whole_steps = getattr(self.model.train_function, "whole_steps", None)
        if self._whole_steps is not None:
            self._num_whole = self._whole_steps.num_done
        if self._resumes is None:
            return
        self._restore(but=self._moved)
        if self.record.begun:
            randomness.restore(self.record.random_epoch, but=self._moved)
        else:
            self._resumes = None

    def _steps(self, iterator: Any, steps: Iterator[iterators.Step]) -> Iterator[iterators.Step]:
        """The steps of an epoch, without those that were done before."""
        record, done = self.record, 0
        self._num_steps = iterator.num_batches
        if self._resumes is not None:
            done = record.step
        else:
            record.begun, record.random_epoch = True, randomness.capture()
        began, before = time.monotonic(), randomness.capture()
        for begin, end, source in steps:
            if begin < done:
                try:
                    iterators.read(source, self.steps_per_execution, self._meter.beat)
                except tf.errors.OutOfRangeError:
                    self._arrive(before, began)
                    raise
                continue
            if self._resumes is not None:
                if not record.stopped:
                    iterators.read(source, record.partial, self._meter.beat)
                self._arrive(before, began)
                if record.stopped:
                    self.model.stop_training = True
                    return
                if record.ended:  # the data, which has been found out: to ask once more would count once more
                    raise tf.errors.OutOfRangeError(None, None, "End of sequence")
            self._take_marks()
            self._moment, self._end = Moment.STEP, end
            yield begin, end, source
            self._step_is_done()
            self._hooks.at_boundary(self)
        self._arrive(before, began)

    def _take_marks(self) -> None:
        """For the case that the step which comes now fails by the loss of a peer."""
        if self._whole_steps is None:
            return
        self._random = randomness.mark()
        self._callbacks_then = callback_state.Mark(self._begin_batches)
        if self.steps_per_execution > 1:
            self._num_whole = self._whole_steps.num_done

    def _step_is_done(self) -> None:
        if self._moment is not Moment.STEP:
            return
        record, self._logs, self._moment = self.record, None, Moment.BOUNDARY
        self._executions += 1
        self._num_whole += 1
        self.total_step += self._end + 1 - record.step - record.partial
        record.step, record.partial = self._end + 1, 0

    def _arrive(self, before: dict[str, Any], began: float) -> None:
        """The data is where it was: so must be all that the epoch's first steps had changed."""
        if self._resumes is None:
            return
        record = self.record
        self._restore(but=self._moved | randomness.moved_since(before))
        self._resumes, self._logs = None, record.logs
        self._callback.skipped(record.step)
        if record.partial and hasattr(self.model.train_function, "run_fewer"):
            self.model.train_function.run_fewer(record.partial)
        seconds = time.monotonic() - began
        self._meter.sought(self._seek_seconds + seconds)
        log.info(
            "fit call %d goes on in epoch %d after step %d; data brought there in %.2f s",
            record.call + 1,
            record.epoch + 1,
            record.step + record.partial,
            seconds,
        )

    def _restore(self, *, but: frozenset[str]) -> None:
        assert self._resumes is not None
        values, of_callbacks = callback_state.split(self._resumes)
        variables.assign(self.model, values, "the checkpoint")
        callback_state.restore(self.callbacks, self.record.callbacks, of_callbacks)
        randomness.restore(self.record.random, but=but)
        self._meter.total_step = self.total_step = self.record.total_step
        self._meter.train_seconds = self.record.train_seconds

    def logs_of_epoch(self, logs: Any) -> Any:
        """What Keras takes for the logs of an epoch's last step; those of before where there was no step since.

        The epoch's steps are done when Keras asks.
        """
        if self._moment is Moment.STEP and self.model.stop_training:  # else its batch was not there
            self._step_is_done()
            self.record.stopped = True
        if self._moment is not Moment.VALIDATION:
            self._random, self._callbacks_then = randomness.mark(), None
            self._metrics_then = variables.metrics(self.model)
            self._moment, self.record.ended = Moment.VALIDATION, True
        before, self._logs = self._logs, None
        return before if before is not None and not logs else logs

    def validation_goes_on(self) -> None:
        self._hooks.in_validation(self)

    def epoch_ended(self, epoch: int, *, is_last: bool) -> None:
        record = self.record
        record.epoch, record.begun, record.step, record.logs = epoch + 1, False, 0, {}
        record.stopped = record.ended = False
        self._moment = Moment.BEGINNING
        if not is_last:
            self._hooks.at_epoch_end(self)

    def capture(self) -> Tensors | None:
        """Brings the record up to date; answers all tensors. None where that cannot be told now.

        At a boundary, in a validation, or at the end of an epoch.
        """
        if not self._callback.has_seen(self._executions):
            return None
        in_validation = self._moment is Moment.VALIDATION
        tensors = self._capture(self._random if in_validation else None)
        return tensors | self._metrics_then if in_validation else tensors

    def rescue(self) -> Tensors | None:
        """After a peer was lost: all tensors of the last whole step, with the record brought there; None where what
        this worker holds is not known to be that."""
        if self._resumes is not None or self._moment is Moment.BEGINNING:
            return None
        if self._moment is Moment.STEP and self._callback.num_seen > self._executions:
            self._step_is_done()  # it was lost while callbacks agreed on what follows
            self.record.stopped = bool(self.model.stop_training)
        if self._moment is not Moment.STEP:
            return self.capture()
        if self._whole_steps is None or not self._whole_steps.undo():
            return None
        partial = self._whole_steps.num_done - self._num_whole
        if partial >= self.steps_per_execution or not self._callback.has_seen(self._executions):
            return None
        self.record.partial = partial
        self.total_step += partial
        return self._capture(self._random, self._callbacks_then)

    def _capture(self, random: randomness.Mark | None, callbacks: callback_state.Mark | None = None) -> Tensors:
        record = self.record
        record.random = randomness.capture(random)
        record.total_step, record.train_seconds = self.total_step, self._meter.train_seconds
        record.logs = plain(record.logs)
        record.trained = variables.optimized(self.model)
        record.callbacks, tensors = callback_state.capture(self.callbacks, callbacks)
        return variables.values(self.model) | tensors
