"""TensorFlow shards a dataset by files where it can (another global batch than one process has), fails for sources
without files ("unshardable source"), and splits a batch that the workers do not divide by another rule than it weights
it. Generators and PyDatasets give every worker a batch of its own.

Every worker reads the same global batches and takes its rows, with the size of the whole beside them. What the program
has distributed itself, or said AutoShardPolicy FILE or OFF for, stays as it is.
See https://www.tensorflow.org/tutorials/distribute/input#sharding.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.epoch_iterator import EpochIterator

from kerasjob_trainer.global_batch import input

PATCHED = (keras_trainer.TFEpochIterator.__init__,)
_POLICY = tf.data.experimental.AutoShardPolicy


def apply() -> None:
    """Replaces the function."""

    def __init__(self: Any, distribute_strategy: Any = None, *args: Any, **kwargs: Any) -> None:
        EpochIterator.__init__(self, *args, **kwargs)
        self._distribute_strategy = distribute_strategy
        dataset = self.data_adapter.get_tf_dataset()
        if not isinstance(dataset, tf.distribute.DistributedDataset):
            own = dataset.options().experimental_distribute.auto_shard_policy
            if distribute_strategy.num_replicas_in_sync > 1 and own not in (_POLICY.FILE, _POLICY.OFF):
                dataset = input.row_batches(dataset, distribute_strategy)
            else:
                dataset = distribute_strategy.experimental_distribute_dataset(dataset)
        self._distributed_dataset = dataset

    keras_trainer.TFEpochIterator.__init__ = __init__
