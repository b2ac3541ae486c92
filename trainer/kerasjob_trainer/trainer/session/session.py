"""Wraps `Model.fit` and `Model.evaluate`: numbers calls, skips what is finished, goes on in the right one, saves.

Made and installed by `main`. An interrupted run and an undisturbed one give the same numbers, bit for bit, as long as
workers, devices and versions are the same.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import keras
from keras.src.backend.tensorflow import trainer as keras_trainer
from safetensors.numpy import load_file

from kerasjob_api.constants import SavePhase
from kerasjob_api.exit_codes import ExitCode
from kerasjob_trainer.log import log, set_step
from kerasjob_trainer.manifests import checkpoint_id
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session import callback_state, fingerprints, iterators, randomness, variables
from kerasjob_trainer.trainer.session.call import Call
from kerasjob_trainer.trainer.session.data_wait import DataWait
from kerasjob_trainer.trainer.session.keeping import Keeping
from kerasjob_trainer.trainer.session.losses import Losses
from kerasjob_trainer.trainer.session.models import Models
from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.rebuilding import rebuild
from kerasjob_trainer.trainer.session.records import (
    CallRecord,
    Evaluation,
    SessionRecord,
    call_site,
    plain,
    recorded_result,
)
from kerasjob_trainer.trainer.session.steps_due import StepsDue
from kerasjob_trainer.trainer.strategy import abort_collectives


class Session:
    """The calls of `fit` of one program."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._data_wait = DataWait(lambda: self._call is not None and self._call.is_in_step)
        self._meter = Meter(control, self._data_wait)
        self._saved = SessionRecord()
        self._record = SessionRecord()
        self._keeping = Keeping(spec, control, self._record)
        self._models = Models()
        self._next_call = 0
        self.last_model: Any = None  # that was given to `fit`
        self._inside = False
        self._call: Call | None = None
        self._evaluating = False
        self._steps_due = StepsDue(control)
        self.losses = Losses(spec.num_workers, self._rescue)
        self._stop = threading.Event()
        self._program_dir = Path(spec.program_dir)

    @property
    def num_steps(self) -> int:
        """Training steps since the start of the program."""
        return self._meter.total_step

    def install(self) -> None:
        """Takes the place of `fit` and `evaluate`. Raises Refused where the checkpoint is of another kind."""
        if self._spec.checkpoint is not None:
            self._saved = SessionRecord.read(Path(self._spec.restored) / self._spec.checkpoint / "session.json")
            self._record.kept = self._saved.kept
            if self._saved.num_workers != self._spec.num_workers:
                log.info(
                    "number of workers: saved with %d, goes on with %d; from here on the same within float rounding",
                    self._saved.num_workers,
                    self._spec.num_workers,
                )
        self._record.num_workers = self._spec.num_workers
        trainer = keras_trainer.TensorFlowTrainer
        fit, evaluate, logs_of_epoch = trainer.fit, trainer.evaluate, trainer._get_metrics_result_or_logs
        signature = inspect.signature(fit)

        def session_fit(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return fit(model, *args, **kwargs)  # a fit that a callback makes belongs to the one around it
            bound = signature.bind(model, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            del arguments["self"]
            self._inside = True
            try:
                with self._steps_due.within(), self.losses.remembered():
                    history = self._fit(fit, model, arguments)
            finally:
                self._inside, self._call = False, None
            if self._stop.is_set():  # asked for after the last boundary
                self._end_preempted()
            return history

        def session_evaluate(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside or "_use_cached_eval_dataset" in kwargs:
                self._evaluating = True
                try:
                    return evaluate(model, *args, **kwargs)
                finally:
                    self._evaluating = False
            bound = inspect.signature(evaluate).bind(model, *args, **kwargs)
            wants_dict = bound.arguments.get("return_dict", False)
            bound.arguments["return_dict"] = True
            with self._steps_due.within(), self.losses.remembered():
                answer = evaluate(*bound.args, **bound.kwargs)
            result = self._remember(model, answer)
            return result if wants_dict else model._flatten_metrics_in_order(result)

        def session_logs_of_epoch(model: Any, logs: Any) -> Any:
            call = self._call
            if call is not None and call.model is model and not self._evaluating:
                logs = call.logs_of_epoch(logs)
            return logs_of_epoch(model, logs)

        session_fit.__doc__, session_evaluate.__doc__ = fit.__doc__, evaluate.__doc__
        trainer.fit, trainer.evaluate = session_fit, session_evaluate
        trainer._get_metrics_result_or_logs = session_logs_of_epoch
        trainer.predict = self._steps_due.within()(trainer.predict)
        for name in ("predict", "train_on_batch", "test_on_batch", "predict_on_batch"):
            setattr(trainer, name, self.losses.remembering(getattr(trainer, name), lambda: self._inside))
        iterators.install(self._meter.beat)
        self._data_wait.install()
        self._models.install()
        set_step(lambda: self.num_steps)

    def buffer_released(self, number: int) -> None:
        """The agent is done with a snapshot."""
        self._keeping.released(number)

    def peer_lost(self) -> None:
        """The agent says that a peer is lost: nothing waits for it, and this trainer ends. From any thread."""
        self._keeping.wait_no_longer()
        abort_collectives()

    def _remember(self, model: Any, result: dict[str, Any]) -> dict[str, Any]:
        """The result of an evaluation of the program's own: of a stale model, the one that it had."""
        number, site = len(self._record.evaluations), call_site(self._program_dir)
        if self._models.is_stale(model):
            result = recorded_result(self._saved, number, site)
        self._record.evaluations.append(Evaluation(site, plain(result)))
        self._control.send("evaluated", result=plain(result))
        return result

    def _fit(self, fit: Any, model: Any, arguments: dict[str, Any]) -> Any:
        call = self._next_call
        self._next_call += 1
        self._models.number(model)
        self.last_model = model
        mark = fingerprints.of(model, arguments, self._program_dir, self._spec.num_workers)
        if call < len(self._saved.finished):
            return self._skip(fit, model, arguments, self._saved.finished[call], mark)
        record, tensors = self._saved.current, None
        if record is not None and record.call == call:
            fingerprints.check_same(record, mark)
            randomness.restore(record.random_start)
            assert self._spec.checkpoint is not None
            started = time.monotonic()
            tensors = self._load(self._spec.checkpoint)
            self._control.send("restored", seconds=time.monotonic() - started)
            log.info("fit call %d goes on: epoch %d, step %d", call + 1, record.epoch + 1, record.step)
        else:
            state, epoch = randomness.capture(), arguments["initial_epoch"]
            record = CallRecord(call, mark, state, state, state, first_epoch=epoch, epoch=epoch)
        return self._train(fit, model, arguments, record, tensors)

    def _train(
        self, fit: Any, model: Any, arguments: dict[str, Any], record: CallRecord, tensors: dict[str, Any] | None
    ) -> Any:
        self._record.current = record
        call = Call(model, arguments, record, self._meter, tensors, self)
        self._call = call
        record.model = self._models.number(model)
        iterators.at_first_reset(call.begin)
        before = self.num_steps
        history = fit(model, **arguments)
        self._call = None
        self._models.set_fresh(model)
        record.random = randomness.capture()
        record.trained = variables.optimized(model)
        record.total_step, record.train_seconds = self.num_steps, self._meter.train_seconds
        self._record.current = None
        if self.num_steps > before or tensors is not None:
            record.checkpoint = checkpoint_id(self.num_steps, SavePhase.CALL_END, self._spec.revision)
        record.callbacks, arrays = callback_state.capture(call.callbacks)
        self._finish_call(record)
        if record.checkpoint is not None:
            self._keeping.after_call(call, variables.values(model) | arrays)
        return history

    def _skip(
        self, fit: Any, model: Any, arguments: dict[str, Any], record: CallRecord, mark: dict[str, Any]
    ) -> keras.callbacks.History:
        """A call that is finished: the model gets its state, the data its place, the caller its History."""
        fingerprints.check_same(record, mark)
        started = time.monotonic()
        moved: frozenset[str] = frozenset()

        def begin(iterator: Any) -> None:
            nonlocal moved
            if record.epochs:
                moved = rebuild(iterator, model, record, arguments, self._meter.beat)

        iterators.at_first_reset(begin)
        fit(model, **{**arguments, "epochs": 0, "initial_epoch": 0, "callbacks": None, "verbose": 0})
        tensors: dict[str, Any] = {}
        if record.checkpoint is not None:
            if (Path(self._spec.restored) / record.checkpoint).exists():
                tensors = self._load(record.checkpoint)
                variables.assign(model, callback_state.split(tensors)[0], f"checkpoint {record.checkpoint}")
                self._models.set_fresh(model)
            else:
                self._models.set_stale(model, record.call)
        callback_state.restore(callback_state.given(arguments), record.callbacks, callback_state.split(tensors)[1])
        randomness.restore(record.random, but=moved)
        self._meter.total_step, self._meter.train_seconds = record.total_step, record.train_seconds
        history = model.history
        history.epoch = list(record.epochs)
        history.history = {key: list(values) for key, values in record.history.items()}
        history.params = {**history.params, "epochs": arguments["epochs"]}
        log.info("fit call %d is finished: skipped in %.2f s", record.call + 1, time.monotonic() - started)
        self._finish_call(record)
        if tensors:
            self._keeping.after_skipped_call(record, tensors)
        return history

    def _finish_call(self, record: CallRecord) -> None:
        # Only a call in progress is begun again.
        record.random_start, record.random_epoch, record.logs = {}, {}, {}
        record.fingerprint = fingerprints.without_names(record.fingerprint)
        self._record.finished.append(record)
        self._control.send("call", call=record.call, epochs=record.epochs, history=record.history)

    def _load(self, checkpoint: str) -> dict[str, Any]:
        return load_file(Path(self._spec.restored) / checkpoint / "state.safetensors")  # type: ignore[no-any-return]

    def at_boundary(self, call: Call) -> None:
        """After a step of a `fit`."""
        if self._stop.is_set():
            self._save_and_stop(call)
        self._keeping.prepare(call)
        self._keeping.after_step(call)

    def in_validation(self, call: Call) -> None:
        """After a batch of a validation."""
        if self._stop.is_set():
            self._save_and_stop(call)

    def at_epoch_end(self, call: Call) -> None:
        """After an epoch that is not the last one of its call."""
        self._keeping.after_epoch(call)

    def request_stop(self) -> None:
        """The worker is about to be taken away: stops at the next boundary. From any thread.

        Outside of a `fit` all that counts is saved.
        """
        self._stop.set()
        self._keeping.wait_no_longer()
        if not self._inside:
            self._end_preempted()

    def _save_and_stop(self, call: Call) -> NoReturn:
        try:
            tensors = call.capture()
            if tensors is not None:
                log.info("told to stop: saves step %d and ends", call.total_step)
                self._keeping.before_stop(call, tensors)
        except Exception:  # it must end in any case, and not as if the program had failed
            log.exception("told to stop, and this step cannot be saved")
        self._end_preempted()

    def _end_preempted(self) -> NoReturn:
        sys.stdout.flush()
        os._exit(ExitCode.PREEMPTED)

    def _rescue(self) -> None:
        """Tells the last whole step that this worker holds, where that is known."""
        self._keeping.wait_no_longer()
        self._control.send("rescuing")
        started, call = time.monotonic(), self._call
        try:
            tensors = call.rescue() if call is not None else None
            if call is not None and tensors is not None:
                self._keeping.after_loss(call, tensors)
                seconds = time.monotonic() - started
                log.info("holds step %d for the next ring, told in %.2f s", call.total_step, seconds)
        except Exception:  # a device that is gone: the loss of the peer stays what has happened
            log.exception("what this worker holds cannot be told")
