"""What workers tell each other between steps: small vectors of numbers, summed or shown side by side.

All workers must ask the same at the same place of the program.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kerasjob_trainer.global_batch import input


class Workers:
    """The workers of a strategy, seen from one of them. `rank` and `number` count workers, not their devices."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        local = input.num_local(strategy)
        self.number = strategy.num_replicas_in_sync // local
        self.rank = input.first_replica(strategy) // local
        self._sum = tf.function(self._reduce, reduce_retracing=True)

    def gather(self, values: list[int] | list[float]) -> np.ndarray[Any, Any]:
        """The values of all workers: shape (number, len(values)), int64 or float64. Exact."""
        own = np.asarray(values)
        own = own.astype(np.int64 if own.dtype.kind in "iu" else np.float64)
        table = np.zeros((self.number, len(own)), own.dtype)
        table[self.rank] = own
        return np.asarray(self._sum(tf.constant(table)).numpy())

    def barrier(self) -> None:
        """Waits for all."""
        self.gather([0])

    def _reduce(self, table: Any) -> Any:
        strategy = self._strategy

        def in_replica(value: Any) -> Any:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group % input.num_local(strategy) == 0
            value = tf.where(is_first, value, tf.zeros_like(value))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, value)

        return strategy.experimental_local_results(strategy.run(in_replica, args=(table,)))[0]


_known: dict[int, Workers] = {}


def workers() -> Workers | None:
    """The workers of the strategy that the program runs in; None where this is the only one."""
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return None
    found = _known.setdefault(id(strategy), Workers(strategy))
    return found if found.number > 1 else None
