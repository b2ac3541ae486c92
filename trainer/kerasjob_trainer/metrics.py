"""`/metrics`: a collector over `Meters`. Imported at the first scrape. No job labels: Prometheus adds the pod's."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kerasjob_api.constants import WorkerState
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.status import Status

_GAUGES = {
    "kerasjob_trainer_samples_per_second": "Samples per second of the current fit call, over all workers",
    "kerasjob_trainer_loss": "Loss of the epoch so far",
    "kerasjob_trainer_epoch": "Epoch of the current fit call, from 1",
    "kerasjob_trainer_step": "Training steps since the start of the program",
    "kerasjob_checkpoint_bytes": "Size of the newest checkpoint",
    "kerasjob_checkpoint_last_success_timestamp_seconds": "When a checkpoint was committed last",
    "kerasjob_staging_seconds": "How long it took until program, data and TensorFlow were in place",
    "kerasjob_restore_seconds": "How long the last restore took in the trainer",
    "kerasjob_data_seek_seconds": "How long it took to bring the data to where the program went on last",
    "kerasjob_trainer_memory_bytes": "Memory in use by the trainer's process",
    "kerasjob_recovery_seconds": "From the last loss of this worker's trainer to the next training step",
}


class _AgentCollector(Collector):
    def __init__(self, meters: Meters, status: Status) -> None:
        self._meters, self._status = meters, status

    def collect(self) -> Iterable[Metric]:
        meters, status = self._meters, self._status
        steps = meters.steps()
        yield HistogramMetricFamily(
            "kerasjob_trainer_step_duration_seconds",
            "Duration of a training step, with its wait for data",
            buckets=steps.cumulative(),
            sum_value=steps.total,
        )
        yield CounterMetricFamily("kerasjob_trainer_samples", "Samples trained on, over all workers", meters.samples())
        yield CounterMetricFamily(
            "kerasjob_trainer_data_wait_seconds", "Time that training steps have waited for data", meters.data_wait()
        )
        gauges = dict(meters.gauges)
        for name, text in _GAUGES.items():
            if name in gauges:
                yield GaugeMetricFamily(name, text, gauges[name])
        named = GaugeMetricFamily("kerasjob_trainer_metric", "Metrics of the epoch so far", labels=["name"])
        for name, value in dict(meters.metrics).items():
            named.add_metric([name], value)
        yield named
        yield HistogramMetricFamily(
            "kerasjob_checkpoint_duration_seconds",
            "From the snapshot's file to its commit in the store",
            buckets=meters.checkpoint_seconds.cumulative(),
            sum_value=meters.checkpoint_seconds.total,
        )
        yield CounterMetricFamily("kerasjob_checkpoints", "Committed checkpoints", meters.checkpoints)
        yield CounterMetricFamily(
            "kerasjob_checkpoint_failures", "Checkpoints that were given up", meters.checkpoint_failures
        )
        yield CounterMetricFamily(
            "kerasjob_checkpoints_left_out",
            "Checkpoints that were due while those before were on their way",
            meters.checkpoints_left_out,
        )
        gpus = GaugeMetricFamily("kerasjob_trainer_gpu_memory_bytes", "GPU memory in use by TensorFlow", labels=["gpu"])
        for index, value in enumerate(meters.gpu_memory):
            gpus.add_metric([str(index)], value)
        yield gpus
        state = GaugeMetricFamily("kerasjob_agent_state", "1 for the state that the agent is in", labels=["state"])
        for each in WorkerState:
            state.add_metric([each.value], float(each is status.state))
        yield state
        yield GaugeMetricFamily("kerasjob_ring_revision", "Ring revision in force", status.revision)


def exposition(meters: Meters, status: Status) -> str:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry()
    registry.register(_AgentCollector(meters, status))
    return generate_latest(registry).decode()
