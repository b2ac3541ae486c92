"""Puts the session into Keras's iterators over epochs: before the first epoch, and around the steps of each.

`fit` has such iterators, for its validation too, and so have `evaluate` and `predict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from kerasjob_trainer.trainer.session.old_iterators import Kept

# What an epoch yields at each step: its first batch, its last, and where to read them.
Step = tuple[int, int, Any]
_WRAPPER, _KEPT = "_kerasjob_steps", "_kerasjob_kept"

_on_reset: list[Callable[[Any], None]] = []


def install(beat: Callable[[], None]) -> None:
    """Makes `at_first_reset` and `wrap_steps` work. `beat`: called after each step, whatever it is a step of."""

    def reset(self: Any) -> None:
        EpochIterator.reset(self)
        if _on_reset:
            _on_reset.pop()(self)

    def _enumerate_iterator(self: Any) -> Iterator[Step]:
        steps = EpochIterator._enumerate_iterator(self)
        wrapper = getattr(self, _WRAPPER, None)
        for step in steps if wrapper is None else wrapper(self, steps):
            yield step
            beat()
            kept = getattr(self, _KEPT, None)
            if kept is None or kept.iterator is not step[2]:
                setattr(self, _KEPT, Kept(step[2]))  # the one of the epoch before goes, which nobody uses by now

    keras_trainer.TFEpochIterator.reset = reset
    keras_trainer.TFEpochIterator._enumerate_iterator = _enumerate_iterator


def wrap_steps(iterator: Any, wrapper: Callable[[Any, Iterator[Step]], Iterator[Step]]) -> None:
    """From now on has the steps of each epoch of this iterator pass through `wrapper(iterator, steps)`."""
    setattr(iterator, _WRAPPER, wrapper)


def at_first_reset(function: Callable[[Any], None]) -> None:
    """Calls the function once with the iterator of the `fit` that comes next, when its data is about to be used."""
    _on_reset[:] = [function]


def read(source: Any, number: int, beat: Callable[[], None]) -> None:
    """Reads so many batches, or what there is of them. Raises OutOfRangeError where there is nothing. `beat`: called
    with each, for reading may take very long and is no stall."""
    for index in range(number):
        beat()
        try:
            next(source)
        except (StopIteration, tf.errors.OutOfRangeError):
            if index == 0:
                raise tf.errors.OutOfRangeError(None, None, "End of sequence") from None
            return


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
