"""What the operator counts is there before it happens: `rate` sees no increase in a series that begins with 1."""

import pytest

from kerasjob_api.constants import Phase, Reason
from kerasjob_api.exit_codes import REASONS, is_permanent
from kerasjob_core.cluster import ClusterError, Conflict, NotFound
from kerasjob_operator import metrics
from kerasjob_operator.kubernetes_cluster import JOBS
from kerasjob_operator.pod_watch import PODS


@pytest.mark.parametrize(
    ("counter", "label", "foreseen"),
    [
        (
            metrics.RESTARTS,
            "reason",
            {reason.value for code, reason in REASONS.items() if not is_permanent(code)}
            | {Reason.WORKER_LOST.value, Reason.TRAINER_KILLED.value, Reason.OOM.value},
        ),
        (metrics.DISRUPTIONS, "reason", {Reason.WORKER_DISRUPTED.value}),
        (metrics.TRANSITIONS, "phase", {phase.value for phase in Phase}),
        (
            metrics.RECONCILE_ERRORS,
            "error",
            {error.__name__ for error in ClusterError.__subclasses__() if error not in (Conflict, NotFound)},
        ),
        (metrics.LAST_EVENT, "resource", {JOBS.plural, PODS.plural}),
        (metrics.LAST_RESYNC, "resource", {JOBS.plural, PODS.plural}),
    ],
)
def test_what_can_be_foreseen_is_there_from_the_start(counter, label, foreseen):
    assert foreseen <= {sample.labels[label] for family in counter.collect() for sample in family.samples}
