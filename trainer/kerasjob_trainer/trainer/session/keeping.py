"""When the state of a call is handed to the agent, and what goes with it. Used by the session.

All workers do so at the same boundaries: the first one's states are uploaded, the others' are held for the case that a
worker is lost.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import checkpoint_id
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session import variables
from kerasjob_trainer.trainer.session.buffers import Buffer, Tensors
from kerasjob_trainer.trainer.session.call import Call
from kerasjob_trainer.trainer.session.models import CALLS_KEPT, with_states
from kerasjob_trainer.trainer.session.packing import Outputs
from kerasjob_trainer.trainer.session.records import CallRecord, SessionRecord, metrics_of_epoch
from kerasjob_trainer.trainer.session.saver import Saver, Snapshot


class Keeping:
    """The states of one program. `record`: of the session, brought up to date by it."""

    def __init__(self, spec: RunSpec, control: Control, record: SessionRecord) -> None:
        self._spec, self._record = spec, record
        self._saver, self._outputs = Saver(spec, control), Outputs(spec)
        self._with_state: set[str | None] = set()  # ends of calls that are kept, or can be
        self._due_at = time.monotonic()  # the last time, on every worker, whether it was saved then or left out
        self._has_prepared = False
        self._has_warned = False  # of a metric that is not there

    def released(self, buffer: int) -> None:
        """The agent is done with a state."""
        self._saver.released(buffer)

    def wait_no_longer(self) -> None:
        """This trainer ends: no state waits for the agent to be done with others."""
        self._saver.wait_no_longer()

    def prepare(self, call: Call) -> None:
        """Before the first save is due: its memory takes longer to be had than to be filled."""
        if self._is_of_use and not self._has_prepared:
            self._has_prepared = True
            self._saver.prepare(variables.num_bytes(call.model))

    def after_step(self, call: Call) -> None:
        """Saves where that is due, and not about to be done at the end of the epoch."""
        every_steps, every_seconds = self._spec.every_steps, self._spec.every_seconds
        num_new = call.steps_per_execution
        due = every_steps is not None and call.total_step // every_steps > (call.total_step - num_new) // every_steps
        due = due or (every_seconds is not None and time.monotonic() - self._due_at >= every_seconds)
        if due and not (call.epoch_ends_now and (call.is_last_epoch or self._is_due(call.record.epoch))):
            self._save(call, SavePhase.STEP, upload=True)

    def after_epoch(self, call: Call) -> None:
        """Saves where that is due; the other workers hold every one."""
        due = self._is_due(call.record.epochs[-1])
        if due or self._spec.num_workers > 1:
            self._save(call, SavePhase.EPOCH_END, upload=due)

    def after_call(self, call: Call, tensors: Tensors) -> None:
        """The end of a call that has trained is always saved, and kept for as long as later ones need it."""
        record, self._due_at = call.record, time.monotonic()
        if self._is_of_use and self._hand_over(  # without the call: its callbacks have closed their files
            record, SavePhase.CALL_END, tensors, model=call.model, upload=self._spec.saves
        ):
            self._with_state.add(record.checkpoint)

    def after_skipped_call(self, record: CallRecord, tensors: Tensors) -> None:
        """Its end is in the store still, or else is held in memory once more, as a state of this ring's."""
        if not self._spec.can_save:
            record.checkpoint = checkpoint_id(record.total_step, SavePhase.CALL_END, self._spec.revision)
            self._hand_over(record, SavePhase.CALL_END, tensors, upload=False)
        self._with_state.add(record.checkpoint)

    def before_stop(self, call: Call, tensors: Tensors) -> None:
        """Saves the step at which a worker is told to stop, whichever it is: it may be the only one that is."""
        self._hand_over(call.record, SavePhase.STEP, tensors, call, model=call.model, upload=self._spec.can_save)

    def after_loss(self, call: Call, tensors: Tensors) -> None:
        """Tells the last whole step, after a peer was lost."""
        self._hand_over(call.record, SavePhase.STEP, tensors, call, upload=False)

    def _is_due(self, epoch: int) -> bool:
        """Whether the end of an epoch (from 0) is to be saved."""
        return (epoch + 1) % self._spec.every_epochs == 0

    @property
    def _is_of_use(self) -> bool:
        """Whether a state is: for the store, or for other workers."""
        return self._spec.saves or self._spec.num_workers > 1

    def _save(self, call: Call, phase: SavePhase, *, upload: bool) -> None:
        if upload:
            self._due_at = time.monotonic()
        if not self._is_of_use or (buffer := self._saver.buffer()) is None:
            return
        tensors = call.capture()
        if tensors is None:
            self._saver.released(buffer.number)
        else:
            upload = upload and self._spec.saves
            self._hand_over(call.record, phase, tensors, call, buffer, call.model, upload=upload)

    def _hand_over(
        self,
        record: CallRecord,
        phase: SavePhase,
        tensors: Tensors,
        call: Call | None = None,
        buffer: Buffer | None = None,
        model: Any = None,
        *,
        upload: bool,
    ) -> bool:
        """Gives the agent a state; one for which there is no buffer yet gets one in any case. `model`: to be written as
        a Keras file too, should it stay for good. False where it cannot be written."""
        own = checkpoint_id(record.total_step, phase, self._spec.revision)
        num_calls = CALLS_KEPT if self._spec.can_save else 0
        ends = {str(end.checkpoint) for end in with_states(self._record.finished, num_calls)}
        position = {
            "call": record.call,
            "epoch": record.epoch,
            "step": record.step + record.partial,
            "phase": phase.value,
        }
        metrics = {} if phase is SavePhase.STEP else metrics_of_epoch(record)
        if upload and metrics:
            self._warn_of_metric(metrics)
        if not upload or not self._record.kept.takes(record.total_step, position, metrics, self._spec.keep):
            model = None
        snapshot = Snapshot(
            record.total_step,
            phase,
            self._record.to_text(),
            position,
            tuple(sorted((ends & self._with_state) - {own})),
            partial(self._outputs.pack, call.callbacks if call is not None else []),
            metrics,
            model,
        )
        return self._saver.hand_over(snapshot, tensors, buffer or self._saver.extra_buffer(), upload=upload)

    def _warn_of_metric(self, metrics: dict[str, float]) -> None:
        best = self._spec.keep.best
        if best is not None and best.metric not in metrics and not self._has_warned:
            self._has_warned = True
            shown = ", ".join(sorted(metrics))
            log.warning("spec.checkpoint.keep.best: `fit` shows no %r, so nothing is the best: %s", best.metric, shown)
