"""`spec.managedBy`: a job that somebody else looks after is not touched, its status neither."""

from __future__ import annotations

from kerasjob_api.constants import CONTROLLER
from kerasjob_core.observed import Observed


def somebody_else(observed: Observed) -> bool:
    """Whether another controller has the job."""
    spec = observed.job.spec
    return spec is not None and spec.managed_by not in (None, CONTROLLER)
