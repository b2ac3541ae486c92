"""Brings the data of a `fit` to where it was after some epochs, as if they had been run. Used by the session.

Keras makes iterators in a certain order: two per epoch where the length is known, of which the second is never read.
What they leave behind is made again by arithmetic where that can be (arrays, a shuffle), and by reading where it
cannot: unknown lengths, `steps_per_epoch`, generators, random numbers drawn from a variable and the like.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from kerasjob_trainer.trainer import array_order
from kerasjob_trainer.trainer.session import own_state, pipelines, randomness
from kerasjob_trainer.trainer.session.iterators import read


class Way(Protocol):
    """How the data of one iterator gets over epochs."""

    def epoch(self) -> None:
        """Over one more."""

    def arrive(self) -> None:
        """What was only counted is made so, at the end."""


class _Draws:
    """Orders of shuffles that are to be drawn: all at once, but before anything is read that may draw from them too."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[Any, int]] = {}

    def add(self, shuffle: Any, number: int) -> None:
        """As if so many iterators more had been made."""
        self._numbers[id(shuffle)] = shuffle, self._numbers.get(id(shuffle), (shuffle, 0))[1] + number

    def make(self) -> None:
        """Draws them."""
        for shuffle, number in self._numbers.values():
            pipelines.draw_orders(shuffle, number)
        self._numbers.clear()


def skip(
    iterator: Any, epochs: list[int], model: Any, arguments: dict[str, Any], beat: Callable[[], None] = lambda: None
) -> None:
    """Goes over epochs of a `fit` with these arguments without training, and over the validations after them.

    In the order in which they were: data of training and of validation may draw from one source. `beat`: called as it
    comes forward, which may take very long.
    """
    if not epochs:
        return
    draws = _Draws()
    ways = [_way(iterator, draws, beat)]
    for epoch in epochs:
        beat()
        ways[0].epoch()
        if model._should_eval(epoch, arguments["validation_freq"]) and arguments["validation_data"] is not None:
            validation = _validation(model, arguments)
            if isinstance(validation.data_adapter, ArrayDataAdapter):
                continue  # in order, and from their beginning each time
            if len(ways) == 1:
                ways.append(_way(validation, draws, beat))
            ways[1].epoch()
    draws.make()
    for way in ways:
        way.arrive()


def _way(iterator: Any, draws: _Draws, beat: Callable[[], None]) -> Way:
    adapter = iterator.data_adapter
    if isinstance(adapter, ArrayDataAdapter):
        return _Arrays(iterator, beat)
    # Where the source does not tell its length, what Keras counts in the first epoch is one too many.
    if iterator.steps_per_epoch or adapter.num_batches is None:
        return _Reading(iterator, draws, beat)
    if isinstance(adapter, PyDatasetAdapter) and adapter.enqueuer is None:
        return _PyDataset(adapter, beat)
    if isinstance(adapter, TFDatasetAdapter) and isinstance(adapter._dataset, tf.data.Dataset):
        movers = pipelines.movers(adapter._dataset)
        return _Reading(iterator, draws, beat) if movers.reading else _Pipeline(iterator, movers, draws, beat)
    return _Reading(iterator, draws, beat)


def _validation(model: Any, arguments: dict[str, Any]) -> Any:
    """The iterator of the validation data, set back and left where Keras looks for it, as each validation does."""
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
    EpochIterator.reset(model._eval_epoch_iterator)
    return model._eval_epoch_iterator


class _Reading:
    """Goes through the data as the epoch did."""

    def __init__(self, iterator: Any, draws: _Draws, beat: Callable[[], None]) -> None:
        self._iterator, self._draws, self._beat = iterator, draws, beat

    def epoch(self) -> None:
        self._draws.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of data that ended: they were given when the epoch was run
            with self._iterator.catch_stop_iteration():
                for _, _, source in self._iterator:
                    read(source, self._iterator.steps_per_execution, self._beat)

    def arrive(self) -> None:
        """It is there."""


class _Arrays:
    """Arrays change nothing by being read: it is enough to count, as Keras does."""

    def __init__(self, iterator: Any, beat: Callable[[], None]) -> None:
        self._iterator, self._beat = iterator, beat
        self._num_begun = self._seen = 0

    def epoch(self) -> None:
        iterator = self._iterator
        num_batches, steps = iterator.data_adapter.num_batches, iterator.steps_per_epoch
        if not steps:
            self._num_begun += 2
            return
        self._num_begun = max(self._num_begun, 1)
        for _ in range(0, steps, iterator.steps_per_execution):
            if self._seen >= num_batches:
                break
            self._seen += iterator.steps_per_execution
        if self._seen >= num_batches:
            self._num_begun, self._seen = self._num_begun + 1, 0

    def arrive(self) -> None:
        iterator = self._iterator
        if not iterator.steps_per_epoch:
            array_order.pass_over(iterator.data_adapter, self._num_begun)
        else:
            array_order.pass_over(iterator.data_adapter, self._num_begun - 1)
            iterator._current_iterator = iter(iterator._get_iterator())
            iterator._steps_seen = self._seen
            read(iterator._current_iterator, self._seen, self._beat)


class _Pipeline:
    """A pipeline in which only beginning anew, or only the first time, moves something."""

    def __init__(self, iterator: Any, movers: pipelines.Movers, draws: _Draws, beat: Callable[[], None]) -> None:
        self._iterator, self._movers, self._draws = iterator, movers, draws
        self._reading = _Reading(iterator, draws, beat)
        self._reads = movers.cached or bool(movers.python)

    def epoch(self) -> None:
        if self._reads:
            before = _state(self._movers.python)
            self._reading.epoch()
            # A function of Python's may draw from a generator: then in each epoch.
            self._reads = bool(self._movers.python) and _state(self._movers.python) != before
        elif len(self._movers.shuffles) > 1:  # of which one may be begun only as the other reads
            self._draws.make()
            next(iter(self._iterator._get_iterator()))
            iter(self._iterator._get_iterator())
        elif self._movers.shuffles:
            self._draws.add(self._movers.shuffles[0], 2)

    def arrive(self) -> None:
        """It is there."""


class _PyDataset:
    """Of a `PyDataset` without workers of its own."""

    def __init__(self, adapter: Any, beat: Callable[[], None]) -> None:
        self._adapter, self._beat = adapter, beat
        self._items_move: bool | None = None  # whether taking them changes the dataset, or draws random numbers

    def epoch(self) -> None:
        """The order of the items is drawn, and they are taken where that moves something."""
        adapter = self._adapter
        adapter.on_epoch_begin()
        indices = list(range(adapter.py_dataset.num_batches))
        if adapter.shuffle:
            random.shuffle(indices)
        if self._items_move is not False:
            before = _state([adapter.py_dataset])
            for index in indices:
                self._beat()
                adapter.py_dataset[index]
            self._items_move = _state([adapter.py_dataset]) != before
        adapter.on_epoch_end()

    def arrive(self) -> None:
        """It is there."""


def _state(roots: Iterable[Any]) -> tuple[Any, ...]:
    """What reading may move: global random states, and what the program's own code has in reach."""
    return randomness.capture(), own_state.of(roots)
