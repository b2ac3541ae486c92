"""Programs that distribute themselves run unchanged: the strategy that they make is the one that they are in.

Applied by `main` before the program. A TFJob program reads TF_CONFIG and makes a MultiWorkerMirroredStrategy; a second
one in the same process would not form a ring.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver import TFConfigClusterResolver

from kerasjob_trainer.log import log
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.failure import Refused

_ANSWERED = ("MultiWorkerMirroredStrategy", "MirroredStrategy", "OneDeviceStrategy")
_REFUSED = ("ParameterServerStrategy", "TPUStrategy", "CentralStorageStrategy")


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

    def answer(name: str) -> tf.distribute.Strategy:
        log.info("%s of the program: the job's own strategy", name)
        return strategy

    for module in (tf.distribute, tf.distribute.experimental):
        for names, function in ((_ANSWERED, answer), (_REFUSED, _refuse)):
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, _in_place_of(getattr(module, name), name, function))


def _in_place_of(kind: Any, name: str, function: Callable[[str], Any]) -> Any:
    """A class that is called and asked for instances as the original is, and never makes one."""

    class Constructor(type):
        def __call__(cls, *args: object, **kwargs: object) -> Any:
            return function(name)

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, kind)

    return Constructor(kind.__name__, (), {"__doc__": kind.__doc__})


def _refuse(name: str) -> None:
    raise Refused(
        f"tf.distribute.{name} cannot run in a KerasJob, whose workers form a MultiWorkerMirroredStrategy: make"
        " tf.distribute.MultiWorkerMirroredStrategy(), or no strategy at all"
    )
