"""Keras divides the mean loss of every replica by their number, which is right for equal parts alone: a batch that the
workers do not divide, and the last one of an epoch, get the wrong loss. Losses whose divisor depends on the batch
(masks, `mean_with_sample_weight`) and sums are wrong even then, and a custom `train_step` that calls a loss object
reports loss/N.

In a step a loss is this replica's estimate of the global one. Divisors that depend on the batch are summed over
replicas; sums are scaled up by the share of the rows.
Upstream: https://github.com/tensorflow/tensorflow/issues/55321.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras.src.losses import loss as keras_loss
from keras.src.metrics import reduction_metrics

from kerasjob_trainer.global_batch import collectives, rows

PATCHED = (
    keras_loss.scale_loss_for_distribution,
    keras_loss.unscale_loss_for_distribution,
    keras_loss.reduce_values,
    keras_loss.apply_mask,
)


def apply() -> None:
    """Wraps the functions."""
    _wrap_scaling("scale_loss_for_distribution")
    _wrap_scaling("unscale_loss_for_distribution")
    _wrap_reduction()
    _wrap_mask()


def _wrap_scaling(name: str) -> None:
    original = getattr(keras_loss, name)

    def scaling(value: Any) -> Any:
        return original(value) if rows.current() is None else value

    setattr(keras_loss, name, scaling)


def _wrap_reduction() -> None:
    original = keras_loss.reduce_values

    def reduce_values(values: Any, sample_weight: Any = None, reduction: Any = "sum_over_batch_size") -> Any:
        current = rows.current()
        if current is None or reduction is None or reduction == "none" or tuple(values.shape) == ():
            return original(values, sample_weight, reduction)
        if reduction == "sum":
            return original(values, sample_weight, reduction) * current.inverse_share(values.dtype)
        if reduction == "mean_with_sample_weight" and sample_weight is not None:
            (weight,) = collectives.sum_all([tf.cast(tf.reduce_sum(sample_weight), values.dtype)])
            mean = tf.math.divide_no_nan(tf.reduce_sum(values), weight)
            return mean * current.inverse_share(values.dtype)
        return original(values, sample_weight, reduction)

    keras_loss.reduce_values = reduce_values


def _wrap_mask() -> None:
    original = keras_loss.apply_mask

    def apply_mask(sample_weight: Any, mask: Any, dtype: Any, reduction: Any) -> Any:
        current = rows.current()
        if current is None or mask is None or reduction not in ("mean", "sum_over_batch_size"):
            return original(sample_weight, mask, dtype, reduction)
        # Valid entries weigh total/valid: of the global batch, where the original takes those of its own.
        own_total, own_valid = tf.cast(tf.size(mask), dtype), tf.reduce_sum(tf.cast(mask, dtype))
        total, valid = collectives.sum_all([own_total, own_valid])
        weights = original(sample_weight, mask, dtype, "sum")
        return weights * tf.math.divide_no_nan(total, valid)

    keras_loss.apply_mask = apply_mask
    assert reduction_metrics.losses.loss is keras_loss  # metrics look it up there
