"""Brings the data of a `fit` to where it was after some epochs, as if they had been run. Used by the session.

Keras makes iterators in a certain order (two per epoch where the length is known: one more at each end), and every one
that is made draws the seeds of a shuffle. So as many are made again. What an iterator yields is read only where that
moves something: unknown lengths, `steps_per_epoch`, generators, `repeat` and the like.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

# Parts of a tf.data pipeline in which reading on, and not only beginning, draws seeds or moves a state of Python's.
_READ_MATTERS = ("Repeat", "FlatMap", "Interleave", "Generator", "PyFunc", "Random", "Choose", "Directed")

# What an epoch yields at each step: its first batch, its last, and where to read them.
Step = tuple[int, int, Any]
_WRAPPER = "_kerasjob_steps"

_on_reset: list[Callable[[Any], None]] = []


def install() -> None:
    """Makes `at_first_reset` and `wrap_steps` work."""

    def reset(self: Any) -> None:
        EpochIterator.reset(self)
        if _on_reset:
            _on_reset.pop()(self)

    def _enumerate_iterator(self: Any) -> Iterator[Step]:
        steps = EpochIterator._enumerate_iterator(self)
        wrapper = getattr(self, _WRAPPER, None)
        return steps if wrapper is None else wrapper(self, steps)  # type: ignore[no-any-return]

    keras_trainer.TFEpochIterator.reset = reset
    keras_trainer.TFEpochIterator._enumerate_iterator = _enumerate_iterator


def wrap_steps(iterator: Any, wrapper: Callable[[Any, Iterator[Step]], Iterator[Step]]) -> None:
    """From now on has the steps of each epoch of this iterator pass through `wrapper(iterator, steps)`."""
    setattr(iterator, _WRAPPER, wrapper)


def at_first_reset(function: Callable[[Any], None]) -> None:
    """Calls the function once with the iterator of the `fit` that comes next, when its data is about to be used."""
    _on_reset[:] = [function]


def skip(iterator: Any, epochs: list[int], model: Any, arguments: dict[str, Any]) -> None:
    """Goes over epochs of a `fit` with these arguments without training, and over the validations after them.

    In the order in which they were: data of training and of validation may draw from one source.
    """
    for epoch in epochs:
        _skip(iterator)
        if model._should_eval(epoch, arguments["validation_freq"]):
            _skip_validation(model, arguments)


def _skip(iterator: Any) -> None:
    if _must_read(iterator):
        _read_through(iterator)
    else:
        _begin_and_leave(iterator)


def _skip_validation(model: Any, arguments: dict[str, Any]) -> None:
    """Leaves the iterator where Keras looks for it. That of arrays has nothing to be moved on."""
    if arguments["validation_data"] is None:
        return
    if model._eval_epoch_iterator is None:
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(arguments["validation_data"])
        model._eval_epoch_iterator = keras_trainer.TFEpochIterator(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=arguments["validation_batch_size"] or arguments["batch_size"],
            distribute_strategy=model.distribute_strategy,
            steps_per_execution=model.steps_per_execution,
            steps_per_epoch=arguments["validation_steps"],
            shuffle=False,
        )
    if not isinstance(model._eval_epoch_iterator.data_adapter, ArrayDataAdapter):
        EpochIterator.reset(model._eval_epoch_iterator)
        _skip(model._eval_epoch_iterator)


def read(source: Any, number: int) -> None:
    """Reads so many batches, or what there is of them. Raises OutOfRangeError where there is nothing."""
    for index in range(number):
        try:
            next(source)
        except (StopIteration, tf.errors.OutOfRangeError):
            if index == 0:
                raise tf.errors.OutOfRangeError(None, None, "End of sequence") from None
            return


def _begin_and_leave(iterator: Any) -> None:
    """What Keras does in an epoch of known length, but for the reading."""
    iterator.data_adapter.on_epoch_begin()
    next(iter(iterator._get_iterator()))
    iterator._current_iterator = iter(iterator._get_iterator())
    iterator._steps_seen = 0
    iterator.data_adapter.on_epoch_end()


def _read_through(iterator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of data that ended: they were given when the epoch was run
        with iterator.catch_stop_iteration():
            for _, _, source in iterator:
                read(source, iterator.steps_per_execution)


def _must_read(iterator: Any) -> bool:
    adapter = iterator.data_adapter
    # Where the source does not tell its length, what Keras counts in the first epoch is one too many.
    if iterator.steps_per_epoch or adapter.num_batches is None:
        return True
    if isinstance(adapter, ArrayDataAdapter):
        return False
    if isinstance(adapter, TFDatasetAdapter) and isinstance(adapter._dataset, tf.data.Dataset):
        return _reading_matters(adapter._dataset)
    return True


def _reading_matters(dataset: Any) -> bool:
    name = type(dataset).__name__
    return any(word in name for word in _READ_MATTERS) or any(_reading_matters(d) for d in dataset._inputs())


def num_samples_per_epoch(iterator: Any) -> tuple[int | None, int | None]:
    """Global batch size, and how many samples an epoch has; None where the data does not say."""
    adapter = iterator.data_adapter
    if isinstance(adapter, ArrayDataAdapter):
        return adapter.batch_size, None if iterator.steps_per_epoch else adapter._num_samples
    try:
        size = adapter.batch_size
    except (AttributeError, IndexError, NotImplementedError, TypeError):
        size = None
    if size is None and isinstance(adapter, TFDatasetAdapter) and isinstance(adapter._dataset, tf.data.Dataset):
        size = _batch_size(adapter._dataset)
    return size, None


def _batch_size(dataset: Any) -> int | None:
    """Of a pipeline whose shape leaves it open, since the last batch may be smaller: what its `batch` was told."""
    if "BatchDataset" in type(dataset).__name__ and hasattr(dataset, "_batch_size"):
        size = tf.get_static_value(dataset._batch_size)
        return None if size is None else int(size)
    inputs = dataset._inputs()
    return _batch_size(inputs[0]) if len(inputs) == 1 else None
