"""Settings of TensorFlow that a program may make only before its runtime begins, which with several devices it has.

Applied by `main` once the strategy is made. Most GPU programs begin with `set_memory_growth`: on one machine it is in
time, and here it must not be the end of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from kerasjob_trainer.log import log

_SETTINGS = {
    tf.config: ("set_visible_devices", "set_logical_device_configuration"),
    tf.config.experimental: ("set_memory_growth", "set_visible_devices", "set_virtual_device_configuration"),
    tf.config.threading: ("set_inter_op_parallelism_threads", "set_intra_op_parallelism_threads"),
}


def apply() -> None:
    """Makes those that come too late a line in the log. Where the runtime has not begun all stays as it is."""
    if not context.context()._initialized:
        return
    for module, names in _SETTINGS.items():
        for name in names:
            setattr(module, name, _or_said(getattr(module, name)))


def _or_said(setting: Callable[..., None]) -> Callable[..., None]:
    @wraps(setting)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            setting(*args, **kwargs)
        except RuntimeError as error:
            log.warning(
                "%s of the program changes nothing: %s%s",
                setting.__name__,
                error,
                "; set TF_FORCE_GPU_ALLOW_GROWTH=true in spec.env" if setting.__name__ == "set_memory_growth" else "",
            )

    return wrapped
