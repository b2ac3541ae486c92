"""Repairs of Keras under tf.distribute: one file per defect, applied only where there is more than one replica.

Each file says what is wrong, where upstream knows of it, and which functions it replaces or wraps (`PATCHED`).
`tested.json` holds the SHA-256 of the source of each of them, for every combination of versions that was tested.
Another source means another Keras: then we refuse, unless the user says KERASJOB_ALLOW_UNTESTED=1.
"""

from __future__ import annotations

import os
from types import ModuleType

import keras
import tensorflow as tf

from kerasjob_trainer.log import log
from kerasjob_trainer.repairs import (
    batch_normalization,
    callback_files,
    clear_session,
    decisions,
    epoch_data,
    gradients,
    loss_share,
    merge_call,
    metric_state,
    optimizer_build,
    random_rows,
    reduce_per_replica,
    refusals,
    symbolic_build,
    tested,
    train_function,
    variable_numbers,
    variable_writes,
)
from kerasjob_trainer.trainer.failure import Refused

ALL: tuple[ModuleType, ...] = (
    refusals,
    clear_session,
    merge_call,
    symbolic_build,
    epoch_data,
    train_function,
    reduce_per_replica,
    loss_share,
    gradients,
    optimizer_build,
    variable_writes,
    variable_numbers,
    batch_normalization,
    random_rows,
    metric_state,
    decisions,
    callback_files,
)
ALLOW = "KERASJOB_ALLOW_UNTESTED"


def apply(strategy: tf.distribute.Strategy | None) -> None:
    """Applies all repairs. Raises Refused where one was not tested with the Keras that is installed."""
    if strategy is None:
        return
    unknown = tested.unknown_sources(ALL)
    if unknown:
        words = (
            f"Keras {keras.__version__} with TensorFlow {tf.__version__} is not a combination that training on several"
            f" replicas was tested with ({', '.join(unknown)} differ); use {' or '.join(tested.versions())}, or set"
            f" {ALLOW}=1 in spec.env to go on at your own risk"
        )
        if os.environ.get(ALLOW) != "1":
            raise Refused(words)
        log.warning("%s", words)
    for repair in ALL:
        repair.apply()
    log.info("repairs of Keras %s: %s", keras.__version__, ", ".join(r.__name__.rpartition(".")[2] for r in ALL))
