"""Repairs of Keras under MultiWorkerMirroredStrategy: one file per defect, applied only with more than one worker.

Each file says what is wrong, where upstream knows of it, and which source it was tested against: `PATCHED` maps each
function that it replaces to the SHA-256 of its source. Another hash means another Keras: then we refuse, unless the
user says KERASJOB_ALLOW_UNTESTED=1.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from types import ModuleType

import keras
import tensorflow as tf

from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.repairs import auto_shard, reduce_per_replica, symbolic_build

ALL: tuple[ModuleType, ...] = (symbolic_build, reduce_per_replica, auto_shard)
ALLOW = "KERASJOB_ALLOW_UNTESTED"


def apply(num_workers: int) -> None:
    """Applies all repairs. Raises Refused where one was not tested with the Keras that is installed."""
    if num_workers == 1:
        return
    unknown = [text for repair in ALL for text in unknown_sources(repair)]
    if unknown:
        words = (
            f"Keras {keras.__version__} with TensorFlow {tf.__version__} is not a combination that training on several"
            f" workers was tested with: {', '.join(unknown)}; use one of {symbolic_build.VERSIONS}, or set {ALLOW}=1 in"
            " spec.env to go on at your own risk"
        )
        if os.environ.get(ALLOW) != "1":
            raise Refused(words)
        log.warning("%s", words)
    for repair in ALL:
        repair.apply()
    log.info("repairs of Keras %s: %s", keras.__version__, ", ".join(r.__name__.rpartition(".")[2] for r in ALL))


def source_hash(function: Callable[..., object]) -> str:
    """SHA-256 of a function's source."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()


def unknown_sources(repair: ModuleType) -> list[str]:
    """The functions of a repair whose source is not the tested one."""
    return [
        f"{function.__module__}.{function.__qualname__} has another source"
        for function, known in repair.PATCHED.items()
        if source_hash(function) not in known
    ]
