"""The functions that Keras makes of `train_step`, `test_step` and `predict_step` know nothing of global batches:
scalars that a step returns are each worker's own, `train_on_batch` trains every worker on the whole batch, and with
`jit_compile=True` the collectives of a CPU are compiled by XLA, which cannot ("Only compiling NCCL/auto collective");
with `steps_per_execution` above 1 the loop over steps fails ("You must feed a value for placeholder").

Each step runs with its rows known, and what it returns is global. Where there is no NCCL, the step runs without XLA.
Several steps run in a loop of the simplest kind.
Upstream: https://github.com/keras-team/keras/issues/20585.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras.src import tree
from keras.src.backend.tensorflow import trainer as keras_trainer

from kerasjob_trainer.global_batch import collectives, input, proof, step, whole_steps
from kerasjob_trainer.global_batch.rows import RowBatch, Rows
from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.failure import Refused

ALLOW_INEXACT = "KERASJOB_ALLOW_INEXACT"
_TRAINER = keras_trainer.TensorFlowTrainer
PATCHED = (_TRAINER._make_function, _TRAINER.make_predict_function)


def apply() -> None:
    """Replaces the functions."""
    original = _TRAINER._make_function

    def _make_function(self: Any, step_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return original(self, step_function)  # type: ignore[no-any-return]
        return _train_function(self, step_function, is_training=step_function == self.train_step)

    def make_predict_function(self: Any, force: bool = False) -> Callable[[Any], Any]:
        if self.predict_function is None or force:
            self.predict_function = _predict_function(self)
        return self.predict_function  # type: ignore[no-any-return]

    _TRAINER._make_function = _make_function
    _TRAINER.make_predict_function = make_predict_function


def _train_function(model: Any, step_function: Callable[[Any], Any], *, is_training: bool) -> Callable[[Any], Any]:
    """Takes an iterator, runs `steps_per_execution` steps or as many as there are, answers the logs of the last one."""
    strategy, num_steps = model.distribute_strategy, model.steps_per_execution
    replica_step = step.wrap(step_function, strategy)
    whole = whole_steps.WholeSteps() if is_training else None
    limit = whole_steps.counter(num_steps)  # of the next execution

    def one_step(data: Any) -> Any:
        begun = whole.begin() if whole is not None else []
        outputs = strategy.run(replica_step, args=(data,))
        outputs = keras_trainer.reduce_per_replica(outputs, strategy, reduction="auto")
        if whole is not None:
            whole.end(begun)
        return outputs

    if not model.run_eagerly:
        one_step = tf.function(
            step.plain(one_step), reduce_retracing=True, jit_compile=model.jit_compile and _xla_can(strategy)
        )
    one_step = model._autoconvert_optionals(one_step)

    def many_steps(iterator: Any) -> Any:
        logs = one_step(iterator.get_next())
        if num_steps == 1:
            return logs

        one, last = tf.constant(1), tf.cast(limit.read_value(), tf.int32)

        # A step in a branch of the loop fails; one that is read before it is known to be needed would be lost.
        def read(number: Any) -> Any:
            empty = tf.experimental.Optional.empty(iterator.element_spec)
            return tf.cond(number < last, iterator.get_next_as_optional, lambda: empty)

        def body(number: Any, data: Any, _: Any) -> Any:
            logs = one_step(data.get_value())
            return number + 1, read(number + 1), logs

        _, _, logs = tf.while_loop(
            lambda _, data, __: data.has_value(), body, (one, read(one), logs), parallel_iterations=1
        )
        limit.assign(num_steps)
        return logs

    if not model.run_eagerly:
        many_steps = tf.function(step.plain(many_steps), reduce_retracing=True)

    def traced(function: Callable[..., Any], *data: Any) -> Any:
        while True:
            try:
                return function(*data)
            except step.TraceAgain as again:
                with strategy.scope():
                    again.make()

    def first(iterator: Any) -> Any:
        """The first step of a program's own is tried before. Its batch, which is read here, is put before the others:
        the function that trains must be the same for all of them, with its random operations."""
        data = next(iterator)
        words = proof.difference(step_function, strategy, data, traced)
        if words is not None:
            _refuse(model, strategy, words)
        again = tf.data.Dataset.from_generator(lambda: iter([data]), output_signature=iterator.element_spec)
        return traced(many_steps, iter(again))

    untried = is_training and num_steps == 1 and proof.is_of_program(model)

    def run(iterator: Any) -> Any:
        nonlocal untried
        if isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
            if untried and isinstance(iterator.element_spec, RowBatch):
                untried = False
                return first(iterator)
            try:
                return traced(many_steps, iterator)
            except tf.errors.OutOfRangeError:
                if whole is not None and num_steps == 1:  # of several steps, one process looks before it begins one
                    whole.data_ended()
                raise
        for _, batch in zip(range(num_steps), iterator, strict=False):
            logs = traced(one_step, input.split(_tensors(batch), strategy))
        return logs

    def run_fewer(number: int) -> None:
        """The next execution has so many steps less: they were done before this trainer began."""
        limit.assign(num_steps - number)

    run.whole_steps, run.run_fewer = whole, run_fewer  # type: ignore[attr-defined]
    return run


def _refuse(model: Any, strategy: tf.distribute.Strategy, words: str) -> None:
    text = (
        f"the training step of {type(model).__name__} does not give on {strategy.num_replicas_in_sync} replicas what it"
        f" gives on one: on the first rows, {words}. It computes something from a batch as a whole that is no mean over"
        " its rows: a sum, or rows that are compared with each other. Take means (tf.reduce_mean, a loss of"
        f" keras.losses), train with workers: 1, or set {ALLOW_INEXACT}=1 in spec.env to go on with what it gives"
    )
    if os.environ.get(ALLOW_INEXACT) != "1":
        raise Refused(text)
    log.warning("%s", text)


def _predict_function(model: Any) -> Callable[[Any], Any]:
    """Takes a list of batches, as `predict` reads them; answers the outputs of all rows, on every worker."""
    strategy = model.distribute_strategy
    distributed = strategy.num_replicas_in_sync > 1

    def predict_step(data: Any) -> Any:
        return model.predict_step(data)

    replica_step = model._autoconvert_optionals(
        step.wrap(predict_step, strategy, unite=_gather) if distributed else predict_step
    )

    def predict(batch: Any) -> Any:
        outputs = strategy.run(replica_step, args=(batch,))
        return tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], outputs)

    if not model.run_eagerly:
        jit = model.jit_compile and (not distributed or _xla_can(strategy))
        predict = tf.function(step.plain(predict), reduce_retracing=True, jit_compile=jit)

    def run(batches: list[Any]) -> Any:
        if distributed:
            batches = [b if _is_own(b) else input.split(_tensors(b), strategy) for b in batches]
        outputs = [predict(batch) for batch in batches]
        if len(outputs) == 1:
            return outputs[0]
        return tree.map_structure(lambda *parts: keras_trainer.concat(parts), *outputs)

    return run


def _gather(outputs: Any, rows: Rows) -> Any:
    def whole(leaf: Any) -> Any:
        if isinstance(leaf, tf.RaggedTensor):
            return collectives.gather_ragged(leaf, rows)
        return collectives.gather_rows(tf.convert_to_tensor(leaf), rows)

    return tree.map_structure(whole, outputs)


def _is_own(batch: Any) -> bool:
    return isinstance(batch, RowBatch) or any(
        isinstance(leaf, tf.distribute.DistributedValues) for leaf in tree.flatten(batch)
    )


def _tensors(batch: Any) -> Any:
    return tree.map_structure(lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), batch)


def _xla_can(strategy: tf.distribute.Strategy) -> bool:
    can = "GPU" in strategy.extended.worker_devices[0].upper()
    if not can:
        log.info("jit_compile: XLA cannot compile collectives without NCCL; steps run without it, to the same result")
    return can
