"""`keras.backend.clear_session()` resets TensorFlow's default graph, and the strategy's scope with it: models that are
made afterwards know of no strategy, and every worker trains its own on the whole batch, in silence.

The scope is entered again in the new graph.
See https://www.tensorflow.org/api_docs/python/tf/keras/backend/clear_session.
"""

from __future__ import annotations

import functools

import tensorflow as tf
from keras.src.backend.common import global_state

from kerasjob_trainer.trainer.strategy import enter_scope

PATCHED = (global_state.clear_session,)


def apply() -> None:
    """Wraps the function that it calls."""
    original = tf.compat.v1.reset_default_graph

    @functools.wraps(original)
    def reset_default_graph() -> None:
        strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        original()
        if strategy is not None and not tf.distribute.has_strategy():
            enter_scope(strategy)

    tf.compat.v1.reset_default_graph = reset_default_graph
