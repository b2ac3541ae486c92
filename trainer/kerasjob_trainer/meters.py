"""What the agent counts for `/metrics`. Written by the supervisor and the uploader, read by `metrics`.

Counters outlive trainers: what a dead one had counted is added to what its successor counts.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CHECKPOINT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass
class Histogram:
    """Counts per bucket (not cumulative; the last one is above all bounds) and the sum of what was observed."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.bounds, counts, self.total + other.total)

    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus has it: upper bound and how many were at most that."""
        rows, seen = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            seen += count
            rows.append((bound, float(seen)))
        return rows


class Meters:
    """All counters and gauges of one agent. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step_base, self._samples_base, self._wait_base = Histogram(STEP_BUCKETS), 0.0, 0.0
        self._step_now, self._samples_now, self._wait_now = Histogram(STEP_BUCKETS), 0.0, 0.0
        self.checkpoint_seconds = Histogram(CHECKPOINT_BUCKETS)
        self.checkpoints = self.checkpoint_failures = self.checkpoints_left_out = 0
        self.gauges: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.gpu_memory: list[float] = []

    def trainer_says(self, message: dict[str, Any]) -> None:
        """Takes over a trainer's cumulative counts and its newest values."""
        with self._lock:
            counts, total = message.get("stepCounts"), message.get("stepSeconds", 0.0)
            if counts:
                self._step_now = Histogram(STEP_BUCKETS, list(counts), float(total))
            self._samples_now = float(message.get("samples") or 0.0)
            self._wait_now = float(message.get("dataWaitSeconds") or 0.0)
            progress = message.get("progress") or {}
            self.gpu_memory = [float(value) for value in message.get("gpuMemory") or []]
            self.metrics = {m["name"]: float(m["value"]) for m in progress.get("metrics", [])}
            self.gauges["kerasjob_trainer_epoch"] = float(progress.get("epoch") or 0)
            self.gauges["kerasjob_trainer_step"] = float(progress.get("totalStep") or 0)
            if progress.get("samplesPerSecond") is not None:
                self.gauges["kerasjob_trainer_samples_per_second"] = float(progress["samplesPerSecond"])
            if "loss" in self.metrics:
                self.gauges["kerasjob_trainer_loss"] = self.metrics["loss"]

    def trainer_ended(self) -> None:
        """The next trainer counts from zero."""
        with self._lock:
            self._step_base = self._step_base.plus(self._step_now)
            self._samples_base += self._samples_now
            self._wait_base += self._wait_now
            self.gpu_memory = []
            self._step_now, self._samples_now, self._wait_now = Histogram(STEP_BUCKETS), 0.0, 0.0

    def checkpoint_saved(self, seconds: float, num_bytes: int, timestamp: float) -> None:
        """A checkpoint was committed."""
        with self._lock:
            self.checkpoints += 1
            self.checkpoint_seconds.observe(seconds)
            self.gauges["kerasjob_checkpoint_bytes"] = float(num_bytes)
            self.gauges["kerasjob_checkpoint_last_success_timestamp_seconds"] = timestamp

    def checkpoint_failed(self) -> None:
        """A checkpoint was given up."""
        with self._lock:
            self.checkpoint_failures += 1

    def checkpoint_left_out(self) -> None:
        """A checkpoint was due while those before were on their way."""
        with self._lock:
            self.checkpoints_left_out += 1

    def gauge(self, name: str, value: float) -> None:
        """Sets a gauge."""
        with self._lock:
            self.gauges[name] = value

    def steps(self) -> Histogram:
        """Step durations of all trainers so far."""
        with self._lock:
            return self._step_base.plus(self._step_now)

    def data_wait(self) -> float:
        """Seconds that steps of all trainers so far have waited for data."""
        with self._lock:
            return self._wait_base + self._wait_now

    def samples(self) -> float:
        """Samples trained on by all trainers so far."""
        with self._lock:
            return self._samples_base + self._samples_now
