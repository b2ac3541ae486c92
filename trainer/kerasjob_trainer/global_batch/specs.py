"""What a batch of a `fit` looks like, without reading one. Used by the repairs and the session.

Every iterator over a shuffled dataset moves its order on: a batch that is read for its shape
alone would change the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from keras.src import tree

from kerasjob_trainer.global_batch.rows import RowBatch


def symbolic_batch(epoch_iterator: Any) -> Any:
    """Specs (shape and dtype) in the structure of a batch of one replica."""
    spec = epoch_iterator._distributed_dataset.element_spec
    return tree.map_structure(_local, spec.parts[0] if isinstance(spec, RowBatch) else spec)


def without_row_count(batch: Any) -> Any:
    """Specs of a batch of arrays or tensors (or None) whose first dimension may be any."""

    def spec(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray | tf.Tensor):
            return _local(tf.TensorSpec(leaf.shape, leaf.dtype))
        return leaf

    return tree.map_structure(spec, batch)


def _local(spec: Any) -> Any:
    if type(spec).__name__ == "PerReplicaSpec":
        spec = spec._value_specs[0]
    if isinstance(spec, tf.OptionalSpec) or type(spec).__name__ == "NoneTensorSpec":
        return None
    if isinstance(spec, tf.TensorSpec) and spec.shape.rank:
        # How many rows a replica has changes, at the latest with the tail of an epoch.
        return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)
    return spec
