"""What the operator counts of itself. Labels are bounded; the series of jobs are in `job_metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from kerasjob_api.constants import PLURAL, Phase, Reason
from kerasjob_core.cluster import NameTaken, QuotaExceeded, Refused, Unavailable

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
FAST = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

RECONCILE_SECONDS = Histogram(
    "kerasjob_reconcile_duration_seconds", "Time of one pass over one job", buckets=FAST, registry=REGISTRY
)
RECONCILE_ERRORS = Counter(
    "kerasjob_reconcile_errors_total", "Passes that ended with an error", ["error"], registry=REGISTRY
)
QUEUE_DEPTH = Gauge("kerasjob_queue_depth", "Jobs that are due and wait for a pass", registry=REGISTRY)
QUEUE_LATENCY = Histogram(
    "kerasjob_queue_latency_seconds", "Time from due to the begin of the pass", buckets=FAST, registry=REGISTRY
)
QUEUE_RETRIES = Counter("kerasjob_queue_retries_total", "Passes tried again after an error", registry=REGISTRY)
API_REQUESTS = Counter(
    "kerasjob_api_requests_total", "Requests to the API server", ["verb", "resource", "code"], registry=REGISTRY
)
API_REQUEST_SECONDS = Histogram(
    "kerasjob_api_request_duration_seconds",
    "Time of requests to the API server",
    ["verb", "resource"],
    buckets=FAST,
    registry=REGISTRY,
)
AGENT_REQUESTS = Counter(
    "kerasjob_agent_requests_total", "Requests to agents", ["request", "result"], registry=REGISTRY
)
RESTARTS = Counter("kerasjob_restarts_total", "Counted restarts of workers", ["reason"], registry=REGISTRY)
DISRUPTIONS = Counter("kerasjob_disruptions_total", "Counted disruptions of workers", ["reason"], registry=REGISTRY)
TRANSITIONS = Counter("kerasjob_phase_transitions_total", "Changes of a job's phase", ["phase"], registry=REGISTRY)
FIRST_STEP_SECONDS = Histogram(
    "kerasjob_time_to_first_step_seconds",
    "From a job's start to when its first training step was seen",
    buckets=(5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
    registry=REGISTRY,
)
LAST_EVENT = Gauge(
    "kerasjob_watch_last_event_timestamp_seconds", "When a watch last said something", ["resource"], registry=REGISTRY
)
NAMESPACE_LISTED = Gauge(
    "kerasjob_namespace_listed",
    "1 for a namespace (* for all) whose jobs and pods can be listed",
    ["namespace"],
    registry=REGISTRY,
)
MISSED_EVENTS = Counter(
    "kerasjob_missed_events_total",
    "Changes that a watch had not told of minutes after a listing found them",
    ["resource"],
    registry=REGISTRY,
)
MISSED_EVENTS.labels("kerasjobs")
UNREADABLE = Counter(
    "kerasjob_unreadable_objects_total",
    "Objects that were passed by because of a fault of ours",
    ["resource"],
    registry=REGISTRY,
)
IS_LEADER = Gauge("kerasjob_operator_leader", "1 for the operator that acts, 0 for one that waits", registry=REGISTRY)
LAST_RESYNC = Gauge(
    "kerasjob_last_resync_timestamp_seconds", "When all of them were last listed", ["resource"], registry=REGISTRY
)

# `rate` sees no increase where a series begins with its first event: what may be counted is there from the start, as 0.
for _reason in (
    Reason.WORKER_LOST,
    Reason.TRAINER_KILLED,
    Reason.OOM,
    Reason.STALLED,
    Reason.CLUSTER_FAULT,
    Reason.STORAGE_ERROR,
    Reason.PREEMPTED,
):
    RESTARTS.labels(_reason.value)
DISRUPTIONS.labels(Reason.WORKER_DISRUPTED.value)
for _resource in ("kerasjobs", "pods"):
    UNREADABLE.labels(_resource)
for _phase in Phase:
    TRANSITIONS.labels(_phase.value)
for _error in (*(each.__name__ for each in (NameTaken, Refused, QuotaExceeded, Unavailable)), "bug"):
    RECONCILE_ERRORS.labels(_error)
# As 0: what was never heard or listed is as old as can be.
for _resource in (PLURAL, "pods"):
    LAST_EVENT.labels(_resource)
    LAST_RESYNC.labels(_resource)
