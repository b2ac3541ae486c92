"""Brings the data of a `fit` to where it was after some epochs, as if they had been run. Used by the session.

Keras makes iterators in a certain order (two per epoch where the length is known: one more at each end), and every one
that is made draws the seeds of a shuffle. So as many are made again. What an iterator yields is read only where that
moves something: unknown lengths, `steps_per_epoch`, generators, `repeat` and the like.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

# Parts of a tf.data pipeline in which reading on, and not only beginning, draws seeds or moves a state of Python's.
_READ_MATTERS = ("Repeat", "FlatMap", "Interleave", "Generator", "PyFunc", "Random", "Choose", "Directed")

_on_reset: list[Callable[[Any], None]] = []


def install() -> None:
    """Makes `at_first_reset` work."""

    def reset(self: Any) -> None:
        EpochIterator.reset(self)
        if _on_reset:
            _on_reset.pop()(self)

    keras_trainer.TFEpochIterator.reset = reset


def at_first_reset(function: Callable[[Any], None]) -> None:
    """Calls the function once with the iterator of the `fit` that comes next, when its data is about to be used."""
    _on_reset[:] = [function]


def skip(iterator: Any, num_epochs: int) -> None:
    """Goes over epochs without training."""
    for _ in range(num_epochs):
        if _must_read(iterator):
            _read_through(iterator)
        else:
            _begin_and_leave(iterator)


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
                for _ in range(iterator.steps_per_execution):
                    next(source)


def _must_read(iterator: Any) -> bool:
    adapter = iterator.data_adapter
    if iterator.steps_per_epoch or iterator._num_batches is None:
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
