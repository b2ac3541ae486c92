"""After the end: pods that still run are deleted, ended ones stay for their logs. A finished job makes nothing."""

from __future__ import annotations

from kerasjob_core.observed import Observed
from kerasjob_core.plan import DeleteWorker, Plan


def after_end(observed: Observed) -> Plan:
    """Deletes what still runs."""
    return Plan(
        actions=tuple(
            DeleteWorker(worker.name, worker.uid)
            for worker in observed.workers
            if not worker.has_ended and not worker.deleting
        )
    )
