"""How replicas are made and reduced: all that differs between CPU and GPU is here. Called by `main`, once.

One member trains without any strategy: what it computes is what plain Keras computes.
"""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended
from tensorflow.python.eager import context
from tensorflow.python.framework import errors

from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer import own_strategy

# A dead or frozen peer is noticed after this long; TensorFlow's own default takes 8 s and more.
HEARTBEAT_TIMEOUT_MS = 2000

_entered: list[Any] = []


def make_strategy(spec: RunSpec) -> tf.distribute.Strategy | None:
    """The strategy of this ring; None for one worker with one device. Waits for all members: the agent's watchdog
    bounds that."""
    own_strategy.set_tf_config(spec)
    gpus = tf.config.list_physical_devices("GPU")
    # By name: asking for logical devices would start the runtime, which must know of its peers before.
    devices = [f"/device:GPU:{i}" for i in range(len(gpus))] if gpus else _logical_cpus()
    what = f"{len(devices)} {'GPU' if gpus else 'CPU'}"
    if spec.num_workers == 1:
        if len(devices) <= 1:
            log.info("one worker, no strategy; devices: %s", what if gpus else "CPU")
            return None
        log.info("MirroredStrategy: one worker, %s; batch_size is the global batch", what)
        return tf.distribute.MirroredStrategy(devices)
    _configure_heartbeat(spec.num_workers)
    experimental = tf.distribute.experimental
    # XLA, which Keras turns on where there is a GPU, compiles NCCL but no RING; without a GPU there is no NCCL.
    kind = experimental.CommunicationImplementation
    implementation = kind.AUTO if gpus else kind.RING
    if not gpus and len(devices) > 1:
        _use_logical_cpus(len(devices))
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=experimental.CommunicationOptions(implementation=implementation)
    )
    log.info(
        "MultiWorkerMirroredStrategy: rank %d of %d, %s, all-reduce by %s; batch_size is the global batch",
        spec.rank,
        spec.num_workers,
        what,
        implementation.name,
    )
    return strategy


def enter_scope(strategy: tf.distribute.Strategy | None) -> None:
    """What the program runs in, for as long as the process lives.

    It is never left: `clear_session` of a program takes away the graph that it was entered in.
    """
    if strategy is not None:
        scope = strategy.scope()
        scope.__enter__()
        _entered.append(scope)  # a scope that is collected leaves in part


def meet(strategy: tf.distribute.Strategy | None) -> None:
    """Waits until all workers are here. Raises what TensorFlow says where one was lost, now or before."""
    if strategy is not None:
        strategy.reduce("SUM", tf.constant(1.0), axis=None)


def barrier(strategy: tf.distribute.Strategy | None) -> None:
    """Waits until all workers are here, so that none ends while another still needs it. A failure is only logged."""
    try:
        meet(strategy)
    except Exception as error:  # whatever it is, the program has ended well
        log.info("a peer ended before this worker did: %s", str(error).splitlines()[:1])


def abort_collectives() -> None:
    """A peer is lost: whatever waits for it, now or later, fails at once. From any thread."""
    context.context().abort_collective_ops(errors.UNAVAILABLE, "Collective ops is aborted by: another worker was lost")


def _logical_cpus() -> list[str]:
    """More than one only where KERASJOB_LOGICAL_CPUS asks for it: stands in for several GPUs where there are none."""
    number = int(os.environ.get("KERASJOB_LOGICAL_CPUS", "1"))
    if number > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    return [f"/device:CPU:{i}" for i in range(number)]


def _use_logical_cpus(number: int) -> None:
    """TensorFlow takes all GPUs of a worker, but one CPU."""

    def _initialize_local_devices(self: Any, cluster_resolver: Any, worker_device: str) -> tuple[tuple[str, ...], str]:
        return tuple(f"{worker_device}/device:CPU:{i}" for i in range(number)), "CPU"

    CollectiveAllReduceExtended._initialize_local_devices = _initialize_local_devices


def _configure_heartbeat(num_workers: int) -> None:
    """A private call of TensorFlow: where it is another one, its default timeout is what we get."""
    try:
        from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

        context.context().configure_coordination_service(
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            heartbeat_timeout_in_ms=HEARTBEAT_TIMEOUT_MS,
            coordinated_jobs=[coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=num_workers)],
        )
    except (ImportError, AttributeError, TypeError) as error:
        log.warning("the heartbeat of TensorFlow's coordination service cannot be set: %s", error)
