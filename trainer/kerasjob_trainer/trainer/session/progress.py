"""How far a `fit` is, and how fast: sent to the agent at most twice a second. Used by the session's callback.

Cheap: a step costs a few additions. May be called from Keras's callback threads.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import tensorflow as tf

from kerasjob_api.codec import to_wire
from kerasjob_api.wire import Metric, Progress
from kerasjob_trainer.manifests import now
from kerasjob_trainer.meters import STEP_BUCKETS, Histogram
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session.data_wait import DataWait

INTERVAL_SECONDS = 0.5
# Samples per second are those of so many seconds of steps, without what lies between epochs.
RATE_SECONDS = 2.0


class Meter:
    """Counts steps of the whole program; describes one `fit` at a time."""

    def __init__(self, control: Control, data_wait: DataWait) -> None:
        self._control, self._data_wait = control, data_wait
        self._lock = threading.Lock()
        self._steps = Histogram(STEP_BUCKETS)
        self._samples = 0
        self._sent_at = 0.0
        self._rate: float | None = None
        self.total_step = 0
        # Of steps that count: without those that are made again, and without a trainer's first one, which traces.
        self.train_seconds = 0.0

    def begin_fit(self, call: int, first_epoch: int, epochs: int, steps: int | None, batch_size: int | None) -> None:
        """A `fit` begins at an epoch (from 0)."""
        self._call, self._epochs = call, epochs
        self._rate, self._busy_seconds, self._busy_samples = None, 0.0, 0
        self._num_steps, self._batch_size = steps, batch_size
        # When and where the first step was done: it traces the program, so pace and rate are counted from there.
        self._pace_from: tuple[float, float] | None = None
        self.begin_epoch(first_epoch, steps, None)

    def begin_epoch(self, epoch: int, steps: int | None, samples: int | None) -> None:
        """An epoch (from 0) begins; `samples` is its size where that is known."""
        with self._lock:
            self._epoch, self._step, self._epoch_base = epoch, 0, self.total_step
            self._num_steps = steps
            self._samples_base, self._samples_epoch = self._samples, samples
            self._step_began = time.monotonic()

    def skip(self, step: int) -> None:
        """So many steps of the epoch were done before this trainer began; `total_step` counts them already."""
        with self._lock:
            self._step, self._epoch_base = step, self.total_step - step
            self._step_began = time.monotonic()

    def step(self, step: int, logs: dict[str, Any]) -> None:
        """`step` steps of the epoch are done. Calls may come from several threads and overtake each other."""
        with self._lock:
            at = time.monotonic()
            if step > self._step:
                self._count(step, at)
            if at - self._sent_at >= INTERVAL_SECONDS:
                self._send(at, logs)

    def _count(self, step: int, at: float) -> None:
        num, seconds, samples = step - self._step, at - self._step_began, self._samples
        for _ in range(num):
            self._steps.observe(seconds / num)
        self._step, self._step_began = step, at
        self.total_step = self._epoch_base + step
        if self._batch_size is not None:
            seen = step * self._batch_size
            self._samples = self._samples_base + min(seen, self._samples_epoch or seen)
        if self._pace_from is None:
            self._pace_from = at, self._done()
        else:
            self.train_seconds += seconds
            self._busy_seconds += seconds
            self._busy_samples += self._samples - samples

    def flush(self, logs: dict[str, Any]) -> None:
        """Sends what there is, at the end of an epoch."""
        with self._lock:
            self._send(time.monotonic(), logs)

    def sought(self, seconds: float) -> None:
        """It took so long to bring the data to where an interrupted call goes on."""
        self._control.send("sought", seconds=seconds)

    def beat(self) -> None:
        """Something moves that is no training step."""
        at = time.monotonic()
        if at - self._sent_at >= INTERVAL_SECONDS:
            self._sent_at = at
            self._control.send("beat")

    def _send(self, at: float, logs: dict[str, Any]) -> None:
        self._sent_at = at
        percent, eta = self._extrapolate(at)
        progress = Progress(
            call=self._call,
            epoch=self._epoch + 1,
            epochs=self._epochs,
            step=self._step,
            steps=self._num_steps,
            percent=percent,
            eta_seconds=eta,
            samples_per_second=self._samples_per_second(),
            metrics=tuple(Metric(name, f"{value:.6g}") for name, value in _numbers(logs)),
            updated_at=now(),
            total_step=self.total_step,
            train_seconds=self.train_seconds,
        )
        self._control.send(
            "progress",
            progress=to_wire(progress),
            stepCounts=self._steps.counts,
            stepSeconds=self._steps.total,
            samples=self._samples,
            dataWaitSeconds=self._data_wait.seconds,
            gpuMemory=memory_in_use("GPU"),
        )

    def _samples_per_second(self) -> float | None:
        if self._batch_size is None or not (self._busy_seconds or self._rate):
            return None
        if not self._busy_seconds:
            return self._rate
        recent = self._busy_samples / self._busy_seconds
        if self._busy_seconds >= RATE_SECONDS:
            self._rate, self._busy_seconds, self._busy_samples = recent, 0.0, 0
        return self._rate if self._rate is not None else recent

    def _done(self) -> float:
        """Epochs that are done, with the part of the one in progress where its length is known."""
        return self._epoch + (min(self._step / self._num_steps, 1.0) if self._num_steps else 0.0)

    def _extrapolate(self, at: float) -> tuple[float | None, float | None]:
        """Percent of the whole `fit`, and how long the rest takes at the pace since the first step in this trainer."""
        if not self._epochs:
            return None, None
        done, eta = self._done(), None
        if self._pace_from is not None and done > self._pace_from[1]:
            began, begin = self._pace_from
            eta = (at - began) * (self._epochs - done) / (done - begin)
        return 100.0 * done / self._epochs, eta


def memory_in_use(kind: str) -> list[int]:
    """Bytes that TensorFlow uses on each device of a kind. Of this worker: logical devices are those of all workers."""
    numbers = range(len(tf.config.list_physical_devices(kind)))
    try:
        return [tf.config.experimental.get_memory_info(f"{kind}:{number}")["current"] for number in numbers]
    except (RuntimeError, ValueError):  # an allocator that keeps no count: a chart lacks a line
        return []


def _numbers(logs: dict[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, value in logs.items():
        try:
            found.append((str(name), float(value)))
        except (TypeError, ValueError):
            continue  # not a number: no metric to show
    return found[:32]
