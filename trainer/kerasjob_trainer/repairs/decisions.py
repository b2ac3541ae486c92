"""A callback that sets `stop_training` on one worker only leaves the others waiting for it for ever; one that sets
another learning rate on each worker lets them drift apart.

What the program's callbacks decide is agreed where Keras looks at it next: after each epoch, and after each batch where
a callback of the program has something to say there. All stop where one does; the first worker's learning rate holds.
Callbacks of Keras decide by logs, which are the same on all workers.
See https://keras.io/guides/writing_your_own_callbacks/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras.src import backend
from keras.src.callbacks import Callback, CallbackList, LambdaCallback

from kerasjob_trainer.global_batch import agreement
from kerasjob_trainer.log import log

_BATCH_HOOKS = {
    "on_train_batch_end": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "on_test_batch_end": ("on_test_batch_begin", "on_test_batch_end"),
    "on_predict_batch_end": ("on_predict_batch_begin", "on_predict_batch_end"),
}
_FLAGS = {
    "on_train_batch_end": "stop_training",
    "on_epoch_begin": "stop_training",
    "on_epoch_end": "stop_training",
    "on_test_batch_end": "stop_evaluating",
    "on_predict_batch_end": "stop_predicting",
}
PATCHED = tuple(getattr(CallbackList, name) for name in _FLAGS)


def apply() -> None:
    """Wraps the functions."""
    for name, flag in _FLAGS.items():
        _wrap(name, flag)


def _wrap(name: str, flag: str) -> None:
    original: Callable[..., Any] = getattr(CallbackList, name)
    hooks = _BATCH_HOOKS.get(name)

    def hook(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if hooks is None or any(_speaks(callback, hooks) for callback in self.callbacks):
            _agree(self.model, flag)

    setattr(CallbackList, name, hook)


def _speaks(callback: Any, hooks: tuple[str, ...]) -> bool:
    """Whether a callback of the program, not of Keras nor ours, does anything in these hooks."""
    kind = type(callback)
    if isinstance(callback, LambdaCallback):
        return any(hook in vars(callback) for hook in hooks)
    if kind.__module__.partition(".")[0] in ("keras", "kerasjob_trainer"):
        return False
    return any(getattr(kind, hook, None) is not getattr(Callback, hook, None) for hook in hooks)


def _agree(model: Any, flag: str) -> None:
    workers = agreement.workers()
    if workers is None or model is None:
        return
    rate = _rate(model)
    own = float(rate) if rate is not None else 0.0
    table = workers.gather([float(bool(getattr(model, flag, False))), own])
    stops = [rank for rank in range(workers.number) if table[rank, 0]]
    if 0 < len(stops) < workers.number:
        log.warning("%s was set by worker %s alone: all stop", flag, ", ".join(map(str, stops)))
    if stops:
        setattr(model, flag, True)
    if rate is not None and own != table[0, 1]:
        log.warning("the learning rate was set to %g here and to %g by worker 0, which holds", own, table[0, 1])
        rate.assign(table[0, 1])


def _rate(model: Any) -> Any:
    """The learning rate where a callback can set one."""
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, backend.Variable) else None
