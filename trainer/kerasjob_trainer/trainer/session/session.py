"""Wraps `Model.fit` and `Model.evaluate`: numbers calls, saves, skips what is finished, goes on in the right epoch.

Made and installed by `main`. An interrupted run and an undisturbed one give the same numbers, bit for bit, as long as
workers, devices and versions are the same.
"""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any

import keras
from keras.src import tree
from keras.src.backend.tensorflow import trainer as keras_trainer
from safetensors.numpy import load_file

from kerasjob_trainer.checkpoints import checkpoint_id
from kerasjob_trainer.global_batch.specs import symbolic_batch
from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session import callback_state, drift, iterators, randomness, variables
from kerasjob_trainer.trainer.session.callback import SessionCallback
from kerasjob_trainer.trainer.session.progress import Meter
from kerasjob_trainer.trainer.session.records import CallRecord, SessionRecord, check_same, fingerprint, plain
from kerasjob_trainer.trainer.session.saver import Saver


class Session:
    """The calls of `fit` of one program."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        self._meter = Meter(control)
        self._saver = Saver(spec, control)
        self._saved = SessionRecord()
        self._record = SessionRecord()
        self._next_call = 0
        self._inside = False
        self._callbacks: list[Any] = []  # the program's own, of the call in progress
        self._program_dir = Path(spec.program_dir)

    @property
    def num_steps(self) -> int:
        """Training steps since the start of the program."""
        return self._meter.total_step

    def install(self) -> None:
        """Takes the place of `fit` and `evaluate`. Raises Refused where the checkpoint is of another kind."""
        if self._spec.checkpoint is not None:
            self._saved = SessionRecord.read(Path(self._spec.restored) / self._spec.checkpoint / "session.json")
        trainer = keras_trainer.TensorFlowTrainer
        fit, evaluate = trainer.fit, trainer.evaluate
        signature = inspect.signature(fit)

        def session_fit(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return fit(model, *args, **kwargs)  # a fit that a callback makes belongs to the one around it
            bound = signature.bind(model, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            del arguments["self"]
            self._inside = True
            self._control.send("fit", inside=True)
            try:
                return self._fit(fit, model, arguments)
            finally:
                self._inside = False
                self._control.send("fit", inside=False)

        def session_evaluate(model: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside or "_use_cached_eval_dataset" in kwargs:
                return evaluate(model, *args, **kwargs)
            bound = inspect.signature(evaluate).bind(model, *args, **kwargs)
            wants_dict = bound.arguments.get("return_dict", False)
            bound.arguments["return_dict"] = True
            result = evaluate(*bound.args, **bound.kwargs)
            self._control.send("evaluated", result=plain(result))
            return result if wants_dict else model._flatten_metrics_in_order(result)

        session_fit.__doc__, session_evaluate.__doc__ = fit.__doc__, evaluate.__doc__
        trainer.fit, trainer.evaluate = session_fit, session_evaluate
        iterators.install()

    def finish(self) -> None:
        """Waits for what is being written."""
        self._saver.wait()

    def _fit(self, fit: Any, model: Any, arguments: dict[str, Any]) -> Any:
        call = self._next_call
        self._next_call += 1
        mark = fingerprint(arguments, self._program_dir)
        if call < len(self._saved.finished):
            return self._skip(fit, model, arguments, self._saved.finished[call], mark)
        resumes = self._saved.current
        if resumes is not None and resumes.call == call:
            check_same(resumes, mark)
            record = resumes
            randomness.restore(record.random_start)
            log.info("fit call %d goes on after epoch %d of %d", call + 1, record.epochs[-1] + 1, arguments["epochs"])
        else:
            state = randomness.capture()
            record = CallRecord(call, mark, state, state, arguments["initial_epoch"])
        return self._train(fit, model, arguments, record)

    def _train(self, fit: Any, model: Any, arguments: dict[str, Any], record: CallRecord) -> Any:
        self._record.current = record
        num_done = len(record.epochs)
        if num_done:
            arguments["initial_epoch"] = record.epochs[-1] + 1
        hooks = _Hooks(self, record if num_done else None)
        callback = SessionCallback(record, self._meter, hooks, arguments["epochs"])

        def begin(iterator: Any) -> None:
            drift.check(model, iterator, record.call, record.fingerprint)
            if num_done:
                self._rebuild(iterator, model, num_done)
            batch_size, callback.samples = iterators.num_samples_per_epoch(iterator)
            self._meter.begin_fit(
                record.call, arguments["initial_epoch"], arguments["epochs"], iterator.num_batches, batch_size
            )

        iterators.at_first_reset(begin)
        given = arguments["callbacks"]
        if isinstance(given, keras.callbacks.CallbackList):
            self._callbacks = list(given.callbacks)
            given.append(callback)
            callback.set_model(model)
        else:
            self._callbacks = tree.flatten(given or [])
            arguments["callbacks"] = [*self._callbacks, callback]
        before = self.num_steps
        history = fit(model, **arguments)
        record.random = randomness.capture()
        record.total_step = self.num_steps
        self._record.current = None
        if self.num_steps > before:
            record.checkpoint = checkpoint_id(self.num_steps, self._spec.revision)
        self._finish_call(record)
        if record.checkpoint is not None:
            self._save(model, record, "callEnd")
        return history

    def _skip(
        self, fit: Any, model: Any, arguments: dict[str, Any], record: CallRecord, mark: dict[str, Any]
    ) -> keras.callbacks.History:
        """A call that is finished: the model gets its state, the data its place, the caller its History."""
        check_same(record, mark)
        started = time.monotonic()
        iterators.at_first_reset(lambda iterator: self._rebuild(iterator, model, len(record.epochs)))
        fit(model, **{**arguments, "epochs": 0, "initial_epoch": 0, "callbacks": None, "verbose": 0})
        if record.checkpoint is not None:
            self._assign(model, record.checkpoint)
        randomness.restore(record.random)
        self._meter.total_step = record.total_step
        history = model.history
        history.epoch = list(record.epochs)
        history.history = {key: list(values) for key, values in record.history.items()}
        history.params = {**history.params, "epochs": arguments["epochs"]}
        log.info("fit call %d is finished: skipped in %.2f s", record.call + 1, time.monotonic() - started)
        self._finish_call(record)
        return history

    def _finish_call(self, record: CallRecord) -> None:
        record.random_start, record.callbacks = {}, []  # only a call in progress is begun again
        self._record.finished.append(record)
        self._control.send("call", call=record.call, epochs=record.epochs, history=record.history)

    def _rebuild(self, iterator: Any, model: Any, num_epochs: int) -> None:
        """Data after `num_epochs` epochs, and all variables made that training would have made by then."""
        if num_epochs == 0:
            return
        started = time.monotonic()
        iterators.skip(iterator, num_epochs)
        model._symbolic_build(data_batch=symbolic_batch(iterator))
        log.info("data brought to epoch %d in %.2f s", num_epochs + 1, time.monotonic() - started)

    def _assign(self, model: Any, checkpoint: str) -> callback_state.Tensors:
        """Sets the model's variables; answers what else the checkpoint holds."""
        values, rest = callback_state.split(load_file(Path(self._spec.restored) / checkpoint / "state.safetensors"))
        variables.assign(model, values, f"checkpoint {checkpoint}")
        return rest

    def restore(self, model: Any, record: CallRecord) -> None:
        """State, callbacks and random states as they were at the end of the last finished epoch."""
        assert self._spec.checkpoint is not None
        started = time.monotonic()
        tensors = self._assign(model, self._spec.checkpoint)
        callback_state.restore(self._callbacks, record.callbacks, tensors)
        randomness.restore(record.random)
        self._meter.total_step = record.total_step
        self._control.send("restored", seconds=time.monotonic() - started)

    def save_epoch(self, model: Any, epoch: int) -> None:
        """A checkpoint at the end of an epoch, where one is due."""
        record = self._record.current
        assert record is not None
        record.random = randomness.capture()
        record.total_step = self.num_steps
        if (epoch + 1) % self._spec.every_epochs == 0:
            self._save(model, record, "epochEnd")

    def _save(self, model: Any, record: CallRecord, phase: str) -> None:
        if not self._spec.saves:
            return
        tensors = variables.snapshot(model)
        if phase == "epochEnd":
            record.callbacks, more = callback_state.capture(self._callbacks)
            tensors |= more
        own = checkpoint_id(self.num_steps, self._spec.revision)
        keep = {call.checkpoint for call in self._record.finished if call.checkpoint not in (None, own)}
        position = {
            "call": record.call,
            "epoch": record.epochs[-1] + 1 if record.epochs else 0,
            "step": 0,
            "phase": phase,
        }
        self._saver.save(
            self.num_steps,
            tensors,
            self._record.to_json(),
            position,
            sorted(str(id_) for id_ in keep),
        )


class _Hooks:
    """The session's part in the callback."""

    def __init__(self, session: Session, resumes: CallRecord | None) -> None:
        self._session, self._resumes = session, resumes

    def restore_state(self, model: Any) -> None:
        if self._resumes is not None:
            self._session.restore(model, self._resumes)

    def epoch_ended(self, model: Any, epoch: int, *, is_last: bool) -> None:
        if not is_last:
            self._session.save_epoch(model, epoch)
