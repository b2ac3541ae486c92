"""`fit` on several workers fails before its first step: the batch from which a model is built is reduced over replicas.

Upstream: https://github.com/keras-team/keras/issues/20585. `TensorFlowTrainer._maybe_symbolic_build` reduces a tuple of
PerReplica values with `strategy.reduce`. Shapes and types are all that building needs. They are taken from the
dataset's spec: reading a batch, as Keras does, would move a shuffle on by one epoch, so that two workers would see
another order than one process does. The batch that `train_on_batch` gets tells all but its number of rows, which is not
the number that a worker gets.
"""

from __future__ import annotations

from typing import Any

from keras.src.backend.tensorflow import trainer as keras_trainer

from kerasjob_trainer.global_batch.specs import symbolic_batch, without_row_count

PATCHED = (keras_trainer.TensorFlowTrainer._maybe_symbolic_build,)


def apply() -> None:
    """Replaces the function."""

    def _maybe_symbolic_build(self: Any, iterator: Any = None, data_batch: Any = None) -> None:
        if self._distribute_strategy is None:
            return
        if iterator is not None:
            data_batch = symbolic_batch(iterator)
        elif data_batch is not None:
            data_batch = without_row_count(data_batch)
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    keras_trainer.TensorFlowTrainer._maybe_symbolic_build = _maybe_symbolic_build
