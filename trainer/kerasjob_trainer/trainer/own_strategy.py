"""Programs that distribute themselves run unchanged: the strategy that they make is the one that they are in.

Applied by `main` before the program. A TFJob program reads TF_CONFIG and makes a MultiWorkerMirroredStrategy; a second
one in the same process would not form a ring.
"""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver import TFConfigClusterResolver

from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.failure import Refused

_OURS = ("MultiWorkerMirroredStrategy", "MirroredStrategy", "OneDeviceStrategy")
_REFUSED = ("ParameterServerStrategy", "experimental.ParameterServerStrategy", "TPUStrategy")


def set_tf_config(spec: RunSpec) -> None:
    """TF_CONFIG as a TFJob has it, also for one worker."""
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(spec.hosts)}, "task": {"type": "worker", "index": spec.rank}}
    )


def apply() -> None:
    """Makes the constructors answer the strategy in force: ours, or TensorFlow's default for one worker."""
    strategy = tf.distribute.get_strategy()
    if strategy.cluster_resolver is None:
        strategy.extended._cluster_resolver = TFConfigClusterResolver()
    for name in _OURS:
        kind = getattr(tf.distribute, name)
        setattr(tf.distribute, name, _answering(kind, strategy))
        if hasattr(tf.distribute.experimental, name):
            setattr(tf.distribute.experimental, name, _answering(kind, strategy))
    for name in _REFUSED:
        module = tf.distribute.experimental if "." in name else tf.distribute
        name = name.rpartition(".")[2]
        if hasattr(module, name):
            setattr(module, name, _refusing(name))


def _answering(kind: Any, strategy: tf.distribute.Strategy) -> Any:
    class Meta(type):
        def __call__(cls, *args: object, **kwargs: object) -> tf.distribute.Strategy:
            log.info("%s of the program: the job's own strategy", kind.__name__)
            return strategy

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, kind)

    return Meta(kind.__name__, (), {"__doc__": kind.__doc__})


def _refusing(name: str) -> Any:
    def refuse(*args: object, **kwargs: object) -> None:
        raise Refused(
            f"tf.distribute.{name} cannot run in a KerasJob, whose workers form a MultiWorkerMirroredStrategy: make"
            " tf.distribute.MultiWorkerMirroredStrategy(), or no strategy at all"
        )

    return refuse
