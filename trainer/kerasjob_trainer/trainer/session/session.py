"""Wraps `Model.fit` and `Model.evaluate`: numbers calls, skips what is finished, goes on in the right one, saves.

Made and installed by `main`. An interrupted run and an undisturbed one give the same numbers, bit for bit, as long as
workers, devices and versions are the same.
"""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any

import keras
from keras.src.backend.tensorflow import trainer as keras_trainer
from safetensors.numpy import load_file

from kerasjob_trainer.checkpoints import Phase, checkpoint_id
from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session import iterators, randomness, variables
from kerasjob_trainer.trainer.session.call import Call, rebuild
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
        self._call: Call | None = None
        self._saved_at = time.monotonic()
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
            self._control.send("fit", inside=True)
            try:
                return self._fit(fit, model, arguments)
            finally:
                self._inside, self._call = False, None
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

        def session_logs_of_epoch(model: Any, logs: Any) -> Any:
            call = self._of(model)
            return logs_of_epoch(model, logs if call is None else call.logs_of_epoch(logs))

        session_fit.__doc__, session_evaluate.__doc__ = fit.__doc__, evaluate.__doc__
        trainer.fit, trainer.evaluate = session_fit, session_evaluate
        trainer._get_metrics_result_or_logs = session_logs_of_epoch
        iterators.install()

    def finish(self) -> None:
        """Waits for what is being written."""
        self._saver.wait()

    def _of(self, model: Any) -> Call | None:
        """The call in progress, where it trains this model."""
        return self._call if self._call is not None and self._call.model is model else None

    def _fit(self, fit: Any, model: Any, arguments: dict[str, Any]) -> Any:
        call = self._next_call
        self._next_call += 1
        mark = fingerprint(arguments, self._program_dir)
        if call < len(self._saved.finished):
            return self._skip(fit, model, arguments, self._saved.finished[call], mark)
        record, tensors = self._saved.current, None
        if record is not None and record.call == call:
            check_same(record, mark)
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
        call = Call(model, arguments, record, self._meter, tensors, self._at_boundary, self._at_epoch_end)
        self._call = call
        iterators.at_first_reset(call.begin)
        before = self.num_steps
        history = fit(model, **arguments)
        self._call = None
        record.random = randomness.capture()
        record.trained = variables.optimized(model)
        record.total_step = self.num_steps
        self._record.current = None
        if self.num_steps > before or tensors is not None:
            record.checkpoint = checkpoint_id(self.num_steps, Phase.CALL_END, self._spec.revision)
        self._finish_call(record)
        if record.checkpoint is not None:
            self._save(variables.snapshot(model), record, Phase.CALL_END)
        return history

    def _skip(
        self, fit: Any, model: Any, arguments: dict[str, Any], record: CallRecord, mark: dict[str, Any]
    ) -> keras.callbacks.History:
        """A call that is finished: the model gets its state, the data its place, the caller its History."""
        check_same(record, mark)
        started = time.monotonic()
        moved = False

        def begin(iterator: Any) -> None:
            nonlocal moved
            moved = bool(record.epochs) and rebuild(iterator, model, record, arguments)

        iterators.at_first_reset(begin)
        fit(model, **{**arguments, "epochs": 0, "initial_epoch": 0, "callbacks": None, "verbose": 0})
        if record.checkpoint is not None:
            variables.assign(model, self._load(record.checkpoint), f"checkpoint {record.checkpoint}")
        randomness.restore(record.random, host=not moved)
        self._meter.total_step = record.total_step
        history = model.history
        history.epoch = list(record.epochs)
        history.history = {key: list(values) for key, values in record.history.items()}
        history.params = {**history.params, "epochs": arguments["epochs"]}
        log.info("fit call %d is finished: skipped in %.2f s", record.call + 1, time.monotonic() - started)
        self._finish_call(record)
        return history

    def _finish_call(self, record: CallRecord) -> None:
        # Only a call in progress is begun again.
        record.random_start, record.random_epoch, record.callbacks, record.logs = {}, {}, [], {}
        self._record.finished.append(record)
        self._control.send("call", call=record.call, epochs=record.epochs, history=record.history)

    def _load(self, checkpoint: str) -> dict[str, Any]:
        return load_file(Path(self._spec.restored) / checkpoint / "state.safetensors")  # type: ignore[no-any-return]

    def _at_boundary(self, call: Call) -> None:
        """After a step of a `fit`: saves where that is due, and not about to be done anyway."""
        every_steps, every_seconds = self._spec.every_steps, self._spec.every_seconds
        num_new = call.steps_per_execution
        due = every_steps is not None and call.total_step // every_steps > (call.total_step - num_new) // every_steps
        due = due or (every_seconds is not None and time.monotonic() - self._saved_at >= every_seconds)
        if due and not (call.epoch_ends_now and (call.is_last_epoch or self._is_due(call.record.epoch))):
            self._save_call(call, Phase.STEP)

    def _at_epoch_end(self, call: Call) -> None:
        if self._is_due(call.record.epochs[-1]):
            self._save_call(call, Phase.EPOCH_END)

    def _is_due(self, epoch: int) -> bool:
        """Whether the end of an epoch (from 0) is to be saved."""
        return (epoch + 1) % self._spec.every_epochs == 0

    def _save_call(self, call: Call, phase: Phase) -> None:
        if not self._spec.saves:
            return
        tensors = call.capture()
        if tensors is not None:
            self._save(tensors, call.record, phase)

    def _save(self, tensors: dict[str, Any], record: CallRecord, phase: Phase) -> None:
        if not self._spec.saves:
            return
        own = checkpoint_id(record.total_step, phase, self._spec.revision)
        keep = {call.checkpoint for call in self._record.finished if call.checkpoint not in (None, own)}
        position = {"call": record.call, "epoch": record.epoch, "step": record.step, "phase": phase.value}
        self._saver.save(
            own, record.total_step, tensors, self._record.to_json(), position, sorted(str(id_) for id_ in keep)
        )
        self._saved_at = time.monotonic()
