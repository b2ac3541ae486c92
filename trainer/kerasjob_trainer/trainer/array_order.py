"""A `fit` of arrays in a program without a seed shuffles them anew before each epoch, as Keras promises.

Workers must read in the same order, so a trainer always sets a seed; but with a seed set Keras draws one order and
gives it in every epoch. A program that sets the seed itself gets that too: it is what one machine gives. For others the
order follows from a number drawn once and from how often the data was begun, so that any epoch's is known without
going through the ones before. Called by `main`; the session moves on to an epoch with `pass_over`.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from tensorflow.python.eager import context
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

_NUM_BEGUN = "_kerasjob_num_begun"


def apply() -> None:
    """Wraps the functions; called after the seed is set."""
    original, ours = ArrayDataAdapter.get_tf_dataset, context.context()._rng

    def get_tf_dataset(self: Any) -> Any:
        seeded_by_program = context.context()._rng is not ours  # which setting a seed replaces
        if not self._shuffle or seeded_by_program:
            return original(self)
        with tf.init_scope(), tf.device("CPU:0"):
            begun = ResourceVariable(-1, trainable=False, dtype=tf.int64)
        setattr(self, _NUM_BEGUN, begun)
        base = tf.constant(context.internal_operation_seed(), tf.int64)

        def shuffle(indices: Any) -> Any:
            # The first index tells batches apart where rows are shuffled within each.
            seed = tf.stack([base + indices[0], begun.read_value()])
            return tf.random.experimental.stateless_shuffle(indices, seed, alg="philox")

        of_tensorflow = tf.random.shuffle
        tf.random.shuffle = shuffle
        try:
            return original(self)
        finally:
            tf.random.shuffle = of_tensorflow

    def _get_iterator(self: Any) -> Any:
        pass_over(self.data_adapter, 1)
        return self._distributed_dataset

    ArrayDataAdapter.get_tf_dataset = get_tf_dataset
    keras_trainer.TFEpochIterator._get_iterator = _get_iterator


def pass_over(adapter: Any, number: int) -> None:
    """As if the data had been begun so many times more."""
    begun = getattr(adapter, _NUM_BEGUN, None)
    if begun is not None:
        begun.assign_add(number)
