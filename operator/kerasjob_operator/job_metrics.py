"""The series of jobs, read from the store at scrape time: they are gone with the job."""

from __future__ import annotations

import contextlib
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kerasjob_api.constants import ConditionType, Phase
from kerasjob_api.status import KerasJobStatus, ProgressStatus
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.observed import Job
from kerasjob_core.times import from_rfc3339

# A job that is in one of these is not meant to train.
_IDLE = {Phase.SUSPENDED.value, Phase.SUCCEEDED.value, Phase.FAILED.value, Phase.INVALID.value}


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
        families = _Families()
        for job in jobs:
            families.add(job, time.time())
        yield from families.all


class _Families:
    """All series that belong to one job: at most 13, and one for each phase that it was in."""

    def __init__(self) -> None:
        self.all: list[Metric] = []
        self._info = self._gauge("kerasjob_info", "What a job is", "uid", "image", "workers")
        self._phase = self._gauge("kerasjob_status_phase", "1 for a job's phase", "phase")
        self._phase_seconds = CounterMetricFamily(
            "kerasjob_phase_seconds", "How long a job was in each phase", labels=["namespace", "name", "phase"]
        )
        self.all.append(self._phase_seconds)
        self._ready = self._gauge("kerasjob_workers_ready", "Ready workers of a job")
        self._desired = self._gauge("kerasjob_workers_desired", "Wanted workers of a job")
        self._late = self._gauge("kerasjob_checkpoints_late", "1 while the store takes no checkpoints of a job")
        self._saved = self._gauge(
            "kerasjob_checkpoint_saved_timestamp_seconds", "When the newest checkpoint of a job was committed"
        )
        self._restarts = self._gauge("kerasjob_status_restarts", "Restarts of a job")
        self._disruptions = self._gauge("kerasjob_status_disruptions", "Disruptions of a job")
        self._step = self._gauge("kerasjob_progress_total_step", "Training steps of a job")
        self._percent = self._gauge("kerasjob_progress_ratio", "How much of its current fit call a job has done")
        self._eta = self._gauge("kerasjob_progress_eta_seconds", "How long a job's current fit call takes yet")
        self._loss = self._gauge("kerasjob_progress_loss", "Loss of a job")
        self._completion = self._gauge("kerasjob_completion_timestamp_seconds", "When a job ended, well or badly")
        self._goodput = self._gauge(
            "kerasjob_goodput_ratio", "Time in training steps that count, of all time since the start but suspended"
        )

    def add(self, job: Job, now: float) -> None:
        """The series of one job."""
        status, key = job.status, [job.ref.namespace, job.ref.name]
        workers = job.spec.workers if job.spec is not None else 0
        image = status.resolved.image if status.resolved is not None else ""
        self._info.add_metric([*key, job.ref.uid, image, str(workers)], 1)
        self._phase.add_metric([*key, status.phase or Phase.PENDING.value], 1)
        for phase, seconds in _phase_seconds(status, now).items():
            self._phase_seconds.add_metric([*key, phase], seconds)
        self._ready.add_metric(key, status.workers.ready)
        self._desired.add_metric(key, workers)
        self._late.add_metric(key, is_true(status, ConditionType.CHECKPOINTS_LATE))
        self._restarts.add_metric(key, status.restarts)
        self._disruptions.add_metric(key, status.disruptions)
        if status.completion_time is not None:
            with contextlib.suppress(ValueError):
                self._completion.add_metric(key, from_rfc3339(status.completion_time))
        if status.checkpoint is not None:
            with contextlib.suppress(ValueError):
                self._saved.add_metric(key, from_rfc3339(status.checkpoint.saved_at))
        if status.progress is not None:
            self._add_progress(key, status, status.progress, now)

    def _add_progress(self, key: list[str], status: KerasJobStatus, progress: ProgressStatus, now: float) -> None:
        self._step.add_metric(key, progress.total_step)
        if progress.percent is not None:
            self._percent.add_metric(key, float(progress.percent) / 100)
        if progress.eta_seconds is not None and not is_finished(status):
            self._eta.add_metric(key, progress.eta_seconds)
        with contextlib.suppress(ValueError):
            for metric in progress.metrics:
                if metric.name == "loss":
                    self._loss.add_metric(key, float(metric.value))
        phases = _phase_seconds(status, now)
        wall = sum(seconds for phase, seconds in phases.items() if phase not in _IDLE)
        if wall > 0:
            self._goodput.add_metric(key, min(1.0, progress.train_seconds / wall))

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        self.all.append(family := GaugeMetricFamily(name, text, labels=["namespace", "name", *labels]))
        return family


def _phase_seconds(status: KerasJobStatus, now: float) -> dict[str, float]:
    """How long it was in each phase, the one that it is in included until it has ended."""
    seconds = {phase: float(value) for phase, value in status.phase_seconds.items()}
    if status.phase_since is not None and not is_finished(status):
        seconds[status.phase] = seconds.get(status.phase, 0.0) + max(0.0, now - from_rfc3339(status.phase_since))
    return seconds
