"""The operator's metrics.

Labels are bounded; what belongs to one job comes from a collector over the store and is gone with the job.
"""

from __future__ import annotations

import contextlib
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kerasjob_api.constants import ConditionType, Phase
from kerasjob_core.conditions import is_true
from kerasjob_core.observed import Job

REGISTRY = CollectorRegistry()
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
IS_LEADER = Gauge("kerasjob_operator_leader", "1 for the operator that acts, 0 for one that waits", registry=REGISTRY)
LAST_RESYNC = Gauge("kerasjob_last_resync_timestamp_seconds", "When everything was last listed", registry=REGISTRY)


class JobCollector(Collector):
    """Series of jobs, read from the store at scrape time."""

    def __init__(self, jobs: Callable[[], Iterable[Job]]) -> None:
        self._jobs = jobs

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not read the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family at a time."""
        jobs = list(self._jobs())
        phases = Tally((job.ref.namespace, job.status.phase or Phase.PENDING.value) for job in jobs)
        count = GaugeMetricFamily("kerasjob_jobs", "Jobs by phase", labels=["namespace", "phase"])
        for (namespace, phase), number in phases.items():
            count.add_metric([namespace, phase], number)
        yield count
        phase_of = GaugeMetricFamily(
            "kerasjob_status_phase", "1 for a job's phase", labels=["namespace", "name", "phase"]
        )
        ready = GaugeMetricFamily("kerasjob_workers_ready", "Ready workers of a job", labels=["namespace", "name"])
        desired = GaugeMetricFamily("kerasjob_workers_desired", "Wanted workers of a job", labels=["namespace", "name"])
        late = GaugeMetricFamily(
            "kerasjob_checkpoints_late", "1 while the store takes no checkpoints of a job", labels=["namespace", "name"]
        )
        restarts = GaugeMetricFamily("kerasjob_status_restarts", "Restarts of a job", labels=["namespace", "name"])
        step = GaugeMetricFamily("kerasjob_progress_total_step", "Steps of a job", labels=["namespace", "name"])
        info = GaugeMetricFamily(
            "kerasjob_info", "What a job is", labels=["namespace", "name", "uid", "image", "workers"]
        )
        loss = GaugeMetricFamily("kerasjob_progress_loss", "Loss of a job", labels=["namespace", "name"])
        for job in jobs:
            key = [job.ref.namespace, job.ref.name]
            image = job.status.resolved.image if job.status.resolved is not None else ""
            info.add_metric([*key, job.ref.uid, image, str(job.spec.workers if job.spec is not None else 0)], 1)
            phase_of.add_metric([*key, job.status.phase or Phase.PENDING.value], 1)
            ready.add_metric(key, job.status.workers.ready)
            desired.add_metric(key, job.spec.workers if job.spec is not None else 0)
            late.add_metric(key, is_true(job.status, ConditionType.CHECKPOINTS_LATE))
            restarts.add_metric(key, job.status.restarts)
            if job.status.progress is not None:
                step.add_metric(key, job.status.progress.total_step)
                with contextlib.suppress(ValueError):
                    for metric in job.status.progress.metrics:
                        if metric.name == "loss":
                            loss.add_metric(key, float(metric.value))
        yield from (info, phase_of, ready, desired, late, restarts, step, loss)
