"""An optimizer that a `train_step` uses for the first time makes its variables there. With several devices the step
fails then ("You must feed a value for placeholder"), for TensorFlow runs it inside a branch of their initialization.

Tracing stops where such an optimizer is met; it is built outside, as `compile` has it built, and tracing begins again.
Upstream: https://github.com/keras-team/keras/issues/20585.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf
from keras.src import backend
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer

from kerasjob_trainer.global_batch import rows, step

PATCHED = (BaseOptimizer.apply, LossScaleOptimizer.apply)


def apply() -> None:
    """Wraps the functions."""
    for kind in (BaseOptimizer, LossScaleOptimizer):
        _wrap(kind)


def _wrap(kind: Any) -> None:
    original = kind.apply

    @functools.wraps(original)
    def apply(self: Any, grads: Any, trainable_variables: Any = None) -> Any:
        if rows.current() is None or self.built or trainable_variables is None or tf.executing_eagerly():
            return original(self, grads, trainable_variables)
        variables = list(trainable_variables)

        def build() -> None:
            with backend.name_scope(self.name, caller=self):
                self.build(variables)
            self.built = True

        raise step.TraceAgain(build)

    kind.apply = apply
