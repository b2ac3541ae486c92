"""How long training steps wait for data. Installed by the session; told with the progress.

A step asks for its data within the graph, where Python has no clock: the graph takes the time before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.data.ops.iterator_ops import OwnedIterator
from tensorflow.python.framework.config import is_op_determinism_enabled
from tensorflow.python.ops.resource_variable_ops import ResourceVariable


class DataWait:
    """Seconds that all training steps of this process have waited."""

    def __init__(self, is_training: Callable[[], bool]) -> None:
        """`is_training`: asked as a function is traced."""
        self._is_training = is_training
        self._total: Any = None

    @property
    def seconds(self) -> float:
        return 0.0 if self._total is None else float(self._total.numpy())

    def install(self) -> None:
        """Wraps what a function calls for its next data."""
        for name in ("_next_internal", "get_next_as_optional"):
            setattr(OwnedIterator, name, self._timed(getattr(OwnedIterator, name)))

    def _timed(self, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(iterator: Any) -> Any:
            # TensorFlow refuses to tell the time where the program asks for determinism.
            if tf.executing_eagerly() or not self._is_training() or is_op_determinism_enabled():
                return read(iterator)
            if self._total is None:
                # Not before: it begins TensorFlow's runtime, which a program may have settings for.
                with tf.init_scope(), tf.device("CPU:0"):  # not within a strategy: each worker has its own
                    self._total = ResourceVariable(0.0, trainable=False, dtype=tf.float64)
            before = tf.timestamp()
            with tf.control_dependencies([before]):
                data = read(iterator)
            with tf.control_dependencies(tf.nest.flatten(data, expand_composites=True)):
                self._total.assign_add(tf.timestamp() - before)
            return data

        return timed
