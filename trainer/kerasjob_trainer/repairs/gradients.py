"""Every replica clips, accumulates, checks for overflow and averages its own gradients, and only then sums them:
`clipnorm`, `global_clipnorm` and `clipvalue` give another result than one process, and so does whatever a custom
`train_step` does with its gradients; a loss scale that one worker lowers alone ends in a deadlock.

In a step the gradient of a scalar with respect to variables is global as soon as it is taken, in one packed collective
per tape. All that follows is the same on all replicas.
Upstream: https://github.com/tensorflow/tensorflow/issues/33929.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras.src.backend import Variable
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer

from kerasjob_trainer.global_batch import collectives, rows, step

PATCHED = (
    tf.GradientTape.gradient,
    TFOptimizer._all_reduce_sum_gradients,
    BaseOptimizer.apply,
    LossScaleOptimizer.apply,
)


def apply() -> None:
    """Wraps the functions."""
    _wrap_tape()
    _wrap_reduction()
    for kind in (BaseOptimizer, LossScaleOptimizer):
        _wrap_apply(kind)


def _wrap_tape() -> None:
    original = tf.GradientTape.gradient

    def gradient(
        self: Any,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: Any = tf.UnconnectedGradients.NONE,
    ) -> Any:
        current = rows.current()
        if current is None:
            return original(self, target, sources, output_gradients, unconnected_gradients)
        weights = _weights(target, output_gradients, current)
        result = original(self, target, sources, weights, unconnected_gradients)
        flat, kinds = tf.nest.flatten(result), tf.nest.flatten(sources)
        of_variables = [i for i, s in enumerate(kinds) if _is_variable(s) and flat[i] is not None]
        summed = collectives.sum_gradients([flat[i] for i in of_variables], current)
        step.record([kinds[i] for i in of_variables], summed)
        for i, value in zip(of_variables, summed, strict=True):
            flat[i] = value
        return tf.nest.pack_sequence_as(result, flat)

    tf.GradientTape.gradient = gradient


def _weights(target: Any, output_gradients: Any, current: rows.Rows) -> list[Any] | None:
    """Scalars weigh their share of the rows; a tensor is summed over its rows, as the tape does anyway."""
    targets = tf.nest.flatten(target)
    if all(one is None or one.shape.rank != 0 for one in targets):
        return output_gradients  # type: ignore[no-any-return]
    given = [None] * len(targets) if output_gradients is None else tf.nest.flatten(output_gradients)
    weights = [tf.ones_like(one) if weight is None else weight for one, weight in zip(targets, given, strict=True)]
    return [
        weight * current.share(one.dtype) if one.shape.rank == 0 else weight
        for one, weight in zip(targets, weights, strict=True)
    ]


def _is_variable(source: Any) -> bool:
    return isinstance(source, (Variable, tf.Variable))


def _wrap_reduction() -> None:
    original = TFOptimizer._all_reduce_sum_gradients

    def _all_reduce_sum_gradients(self: Any, grads_and_vars: Any) -> Any:
        return original(self, grads_and_vars) if rows.current() is None else grads_and_vars

    TFOptimizer._all_reduce_sum_gradients = _all_reduce_sum_gradients


def _wrap_apply(kind: Any) -> None:
    original = kind.apply

    def apply(self: Any, *args: Any, **kwargs: Any) -> Any:
        with rows.replicated_writes():
            return original(self, *args, **kwargs)

    kind.apply = apply
