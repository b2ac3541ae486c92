"""Under MultiWorkerMirroredStrategy a replica cannot write variables or reduce inside `tf.cond` and `tf.while_loop`:
"merge_call called while defining a new graph". Gradient accumulation, EMA overwriting, loss scaling and
`steps_per_execution` all do that.

TensorFlow can do without merging threads where XLA compiles for GPUs, and takes the direct path then: each replica
updates its own copy and launches its own collective. It holds on any device as long as all replicas write the same.
Upstream: https://github.com/keras-team/keras/issues/20582.
"""

from __future__ import annotations

from typing import Any

from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.distribute.mirrored_strategy import MirroredExtended

PATCHED = (CollectiveAllReduceExtended._use_merge_call, MirroredExtended._use_merge_call)


def apply() -> None:
    """Replaces the functions."""

    def _use_merge_call(self: Any) -> bool:
        return False

    CollectiveAllReduceExtended._use_merge_call = _use_merge_call
    MirroredExtended._use_merge_call = _use_merge_call
