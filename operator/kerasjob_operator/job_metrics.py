"""The series of jobs, read from the store at scrape time: they are gone with the job."""

from __future__ import annotations

import contextlib
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kerasjob_api.constants import ConditionType, Phase
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job
from kerasjob_core.times import from_rfc3339

# A job that is in one of these is not meant to train.
_IDLE = {Phase.SUSPENDED.value, Phase.SUCCEEDED.value, Phase.FAILED.value, Phase.INVALID.value}


def _phase_seconds(status: KerasJobStatus, now: float) -> dict[str, float]:
    """How long it was in each phase, the one that it is in included until it has ended."""
    seconds = {phase: float(value) for phase, value in status.phase_seconds.items()}
    if status.phase_since is not None and not is_finished(status):
        seconds[status.phase] = seconds.get(status.phase, 0.0) + max(0.0, now - from_rfc3339(status.phase_since))
    return seconds


Sample = tuple[tuple[str, ...], float]  # values of labels beside namespace and name


@dataclass(frozen=True)
class _Series:
    """A family of series that belong to one job each: at most 13 of a job, and one for each phase that it was in."""

    name: str
    text: str
    samples: Callable[[Job, float], Iterable[Sample]]  # of a job at a time
    labels: tuple[str, ...] = ()
    family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily


class JobCollector(Collector):
    """Series of jobs, read from the store at scrape time."""

    def __init__(self, jobs: Callable[[], Iterable[Job]]) -> None:
        self._jobs = jobs

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not read the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family at a time: those of ten thousand jobs together would be more than all that is known of them."""
        jobs, now = list(self._jobs()), time.time()
        phases = Tally((job.ref.namespace, job.status.phase or Phase.PENDING.value) for job in jobs)
        count = GaugeMetricFamily("kerasjob_jobs", "Jobs by phase", labels=["namespace", "phase"])
        for (namespace, phase), number in phases.items():
            count.add_metric([namespace, phase], number)
        yield count
        for series in _SERIES:
            family = series.family(series.name, series.text, labels=["namespace", "name", *series.labels])
            for job in jobs:
                for labels, value in series.samples(job, now):
                    family.add_metric([job.ref.namespace, job.ref.name, *labels], value)
            yield family


def _number(of: Callable[[KerasJobStatus], float | None]) -> Callable[[Job, float], Iterable[Sample]]:
    """One sample of a job, or none where there is no such number or it cannot be read."""

    def samples(job: Job, _now: float) -> Iterator[Sample]:
        with contextlib.suppress(ValueError):
            value = of(job.status)
            if value is not None:
                yield (), value

    return samples


def _info(job: Job, _now: float) -> Iterable[Sample]:
    image = job.status.resolved.image if job.status.resolved is not None else ""
    return [((job.ref.uid, image, str(_desired(job))), 1.0)]


def _desired(job: Job) -> int:
    return job.spec.workers if job.spec is not None else 0


def _ratio(status: KerasJobStatus) -> float | None:
    progress = status.progress
    return None if progress is None or progress.percent is None else float(progress.percent) / 100


def _eta(status: KerasJobStatus) -> float | None:
    return None if status.progress is None or is_finished(status) else status.progress.eta_seconds


def _loss(status: KerasJobStatus) -> float | None:
    metrics = status.progress.metrics if status.progress is not None else ()
    return next((float(metric.value) for metric in metrics if metric.name == "loss"), None)


def _goodput(job: Job, now: float) -> Iterable[Sample]:
    seconds = _phase_seconds(job.status, now)
    wall = sum(seconds for phase, seconds in seconds.items() if phase not in _IDLE)
    if job.status.progress is not None and wall > 0:
        yield (), min(1.0, job.status.progress.train_seconds / wall)


_SERIES = (
    _Series(
        "kerasjob_phase_seconds",
        "How long a job was in each phase",
        lambda job, now: [((phase,), seconds) for phase, seconds in _phase_seconds(job.status, now).items()],
        ("phase",),
        CounterMetricFamily,
    ),
    _Series("kerasjob_info", "What a job is", _info, ("uid", "image", "workers")),
    _Series(
        "kerasjob_status_phase",
        "1 for a job's phase",
        lambda job, _now: [((job.status.phase or Phase.PENDING.value,), 1.0)],
        ("phase",),
    ),
    _Series("kerasjob_workers_ready", "Ready workers of a job", _number(lambda status: status.workers.ready)),
    _Series("kerasjob_workers_desired", "Wanted workers of a job", lambda job, _now: [((), _desired(job))]),
    _Series(
        "kerasjob_checkpoints_late",
        "1 while the store takes no checkpoints of a job",
        _number(lambda status: is_true(status, ConditionType.CHECKPOINTS_LATE)),
    ),
    _Series(
        "kerasjob_checkpoint_saved_timestamp_seconds",
        "When the newest checkpoint of a job was committed",
        _number(lambda status: None if status.checkpoint is None else from_rfc3339(status.checkpoint.saved_at)),
    ),
    _Series("kerasjob_status_restarts", "Restarts of a job", _number(lambda status: status.restarts)),
    _Series("kerasjob_status_disruptions", "Disruptions of a job", _number(lambda status: status.disruptions)),
    _Series(
        "kerasjob_progress_total_step",
        "Training steps of a job",
        _number(lambda status: None if status.progress is None else status.progress.total_step),
    ),
    _Series("kerasjob_progress_ratio", "How much of its current fit call a job has done", _number(_ratio)),
    _Series("kerasjob_progress_eta_seconds", "How long a job's current fit call takes yet", _number(_eta)),
    _Series("kerasjob_progress_loss", "Loss of a job", _number(_loss)),
    _Series(
        "kerasjob_completion_timestamp_seconds",
        "When a job ended, well or badly",
        _number(lambda status: None if status.completion_time is None else from_rfc3339(status.completion_time)),
    ),
    _Series(
        "kerasjob_goodput_ratio",
        "Time in training steps that count, of all time since the start but suspended",
        _goodput,
    ),
)
