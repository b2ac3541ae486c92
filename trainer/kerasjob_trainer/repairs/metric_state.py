"""The sums of a metric are partial on each worker: logs of a batch are those of a worker's own rows (so TerminateOnNaN,
batch-level TensorBoard and decisions in callbacks differ), reading one is a collective, and assigning one splits it.

In a step an update is put together over the replicas, in one collective for all metrics of the step, so the state is
global and the same everywhere, and so is every result. A metric of Keras adds: what it adds is summed. One that the
program defines may do anything: it is given the rows of all replicas. A scalar that a tracker is given is an estimate.
Upstream: https://github.com/keras-team/keras/issues/20585.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow.core import Variable
from keras.src.metrics import Mean, MeanMetricWrapper, Metric
from keras.src.trainers.compile_utils import CompileMetrics, MetricsList

from kerasjob_trainer.global_batch import collectives, rows, step

PATCHED = (Metric.update_state, Metric.stateless_update_state, Metric.result, Metric.reset_state, Metric.add_variable)
_CONTAINERS = (CompileMetrics, MetricsList)
_local = threading.local()


def apply() -> None:
    """Wraps the functions of all metric classes, and of those that are defined later."""
    _replicate_variables()
    for kind in _all_kinds(Metric):
        _wrap(kind)

    def __init_subclass__(kind: Any, /, **kwargs: Any) -> None:
        super(Metric, kind).__init_subclass__(**kwargs)
        _wrap(kind)

    Metric.__init_subclass__ = classmethod(__init_subclass__)


def _replicate_variables() -> None:
    original = Variable.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("synchronization") == "on_read":
            kwargs.update(synchronization="auto", aggregation="none")
        original(self, *args, **kwargs)

    Variable.__init__ = __init__


def _all_kinds(kind: Any) -> Iterator[Any]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _all_kinds(sub)


def _wrap(kind: Any) -> None:
    if kind in _CONTAINERS:
        return
    for name, wrapper in (("update_state", _updating), ("result", _reading), ("reset_state", _resetting)):
        function = vars(kind).get(name)
        if function is not None and not hasattr(function, "__wrapped__"):
            setattr(kind, name, functools.wraps(function)(wrapper(function)))


def _updating(original: Any) -> Any:
    def update_state(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_local, "inside", False) or not _in_replica():
            return original(self, *args, **kwargs)
        _local.inside = True
        try:
            return _update(self, original, args, kwargs)
        finally:
            _local.inside = False

    return update_state


def _reading(original: Any) -> Any:
    def result(self: Any, *args: Any, **kwargs: Any) -> Any:
        if rows.current() is None or getattr(_local, "inside", False):
            return original(self, *args, **kwargs)
        step.finish()
        return step.mark_global(original(self, *args, **kwargs))

    return result


def _resetting(original: Any) -> Any:
    def reset_state(self: Any, *args: Any, **kwargs: Any) -> Any:
        if rows.current() is None:
            return original(self, *args, **kwargs)
        step.finish()
        with rows.replicated_writes():
            return original(self, *args, **kwargs)

    return reset_state


def _in_replica() -> bool:
    """In a step, or in a function that the program gives to `strategy.run` itself."""
    if rows.current() is not None:
        return True
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _update(metric: Any, original: Any, args: Any, kwargs: Any) -> Any:
    current = rows.current()
    if not metric.variables or not _is_built(metric) or (current is not None and not _adds(metric)):
        if current is None:
            return original(metric, *args, **kwargs)
        args, kwargs = tf.nest.map_structure(lambda value: _whole(value, current), (args, kwargs))
        with rows.replicated_writes():
            return original(metric, *args, **kwargs)
    zeros = [tf.zeros(v.shape, v.dtype) for v in metric.variables]
    added = metric.stateless_update_state(zeros, *args, **kwargs)
    if current is None:
        _assign(metric.variables, collectives.sum_all(added))
        return None
    if _is_estimate(metric, args, kwargs):
        added = [tf.math.multiply_no_nan(value, current.share(value.dtype)) for value in added]
    else:
        # Nothing is added for no rows, not even a NaN of 0/0 times 0.
        added = [tf.where(current.count > 0, value, tf.zeros_like(value)) for value in added]
    _put_off(metric.variables, added, current)
    return None


def _put_off(variables: list[Any], added: list[Any], current: rows.Rows) -> None:
    """All updates of a step share a collective, unless they happen in a function, branch or loop of their own."""
    if not current.is_in_own_graph():
        _assign(variables, collectives.sum_all(added))
        return
    if not step.is_pending():
        _local.pending = []
        step.at_finish(_finish)
    _local.pending += zip(variables, added, strict=True)


def _finish() -> None:
    pending, _local.pending = _local.pending, []
    _assign([variable for variable, _ in pending], collectives.sum_all([added for _, added in pending]))


def _assign(variables: list[Any], sums: list[Any]) -> None:
    with rows.replicated_writes():
        for variable, value in zip(variables, sums, strict=True):
            variable.assign_add(value)


def _is_built(metric: Any) -> bool:
    return bool(getattr(metric, "built", True) and getattr(metric, "_built", True))


def _adds(metric: Any) -> bool:
    """Whether an update adds to the state something that depends on each row alone."""
    if not type(metric).__module__.startswith("keras."):
        return False
    if not isinstance(metric, MeanMetricWrapper):
        return True
    function = getattr(metric, "_fn", None)
    axis = metric._fn_kwargs.get("axis", -1)
    return getattr(function, "__module__", "").startswith("keras.") and axis == -1


def _is_estimate(metric: Any, args: Any, kwargs: Any) -> bool:
    """Whether a mean is given a scalar without a weight: the value of a batch."""
    if not isinstance(metric, Mean) or isinstance(metric, MeanMetricWrapper):
        return False
    given: list[Any] = [*args, *kwargs.values(), None]
    return given[1] is None and getattr(given[0], "shape", None) is not None and len(given[0].shape) == 0


def _whole(value: Any, current: rows.Rows) -> Any:
    """What a metric of the program is given: all rows of a tensor, the global value of a scalar."""
    if not tf.is_tensor(value) or value.dtype == tf.string:
        return value
    if value.shape.rank == 0:
        return collectives.weighted_mean([value], current)[0] if value.dtype.is_floating else value
    if not current.may_count(value.shape[0]):
        return value
    whole = collectives.gather_rows(value, current)
    mask = getattr(value, "_keras_mask", None)
    if mask is not None:
        whole._keras_mask = collectives.gather_rows(mask, current)
    return whole
