"""How replicas are made and reduced: all that differs between CPU and GPU is here. Called by `main`, once.

One member trains without any strategy: what it computes is what plain Keras computes.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec

# A dead or frozen peer is noticed after this long; TensorFlow's own default takes 8 s and more.
HEARTBEAT_TIMEOUT_MS = 2000


def make_strategy(spec: RunSpec) -> tf.distribute.Strategy | None:
    """The strategy of this ring; None for a ring of one. Waits for all members: the agent's watchdog bounds that."""
    gpus = tf.config.list_physical_devices("GPU")
    if spec.num_workers == 1:
        log.info("one worker, no strategy; devices: %s", f"{len(gpus)} GPU" if gpus else "CPU")
        return None
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(spec.hosts)}, "task": {"type": "worker", "index": spec.rank}}
    )
    _configure_heartbeat(spec.num_workers)
    experimental = tf.distribute.experimental
    # XLA, which Keras turns on where there is a GPU, compiles NCCL but no RING; without a GPU there is no NCCL.
    kind = experimental.CommunicationImplementation
    implementation = kind.AUTO if gpus else kind.RING
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=experimental.CommunicationOptions(implementation=implementation)
    )
    log.info(
        "MultiWorkerMirroredStrategy: rank %d of %d, %s, all-reduce by %s; batch_size is the global batch",
        spec.rank,
        spec.num_workers,
        f"{len(gpus)} GPU" if gpus else "CPU",
        implementation.name,
    )
    return strategy


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager[Any]:
    """What the program runs in."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def barrier(strategy: tf.distribute.Strategy | None) -> None:
    """Waits until all workers are here, so that none ends while another still needs it. A failure is only logged."""
    if strategy is None:
        return
    try:
        strategy.reduce("SUM", tf.constant(1.0), axis=None)
    except Exception as error:  # whatever it is, the program has ended well
        log.info("a peer ended before this worker did: %s", str(error).splitlines()[:1])


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
