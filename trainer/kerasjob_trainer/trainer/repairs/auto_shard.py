"""A dataset without a sharding policy is sharded by files where it can be: another global batch than one process has,
and an error for sources that have no files (`from_tensor_slices`, `image_dataset_from_directory`).

With DATA every worker takes its rows of each global batch. A policy that the program sets itself stands.
See https://www.tensorflow.org/tutorials/distribute/input#sharding.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.epoch_iterator import EpochIterator

VERSIONS = ("Keras 3.15 with TensorFlow 2.21",)
PATCHED = {
    keras_trainer.TFEpochIterator.__init__: ("901af2700297156fdb2bc0c7334151feccb1f22c8443c9c3b56b21531fa8fecb",),
}


def apply() -> None:
    """Replaces the function."""

    def __init__(self: Any, distribute_strategy: Any = None, *args: Any, **kwargs: Any) -> None:
        EpochIterator.__init__(self, *args, **kwargs)
        self._distribute_strategy = distribute_strategy
        dataset = self.data_adapter.get_tf_dataset()
        if not isinstance(dataset, tf.distribute.DistributedDataset):
            dataset = distribute_strategy.experimental_distribute_dataset(_with_policy(dataset))
        self._distributed_dataset = dataset

    keras_trainer.TFEpochIterator.__init__ = __init__


def _with_policy(dataset: tf.data.Dataset) -> tf.data.Dataset:
    policy = tf.data.experimental.AutoShardPolicy
    if dataset.options().experimental_distribute.auto_shard_policy != policy.AUTO:
        return dataset
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = policy.DATA
    return dataset.with_options(options)
