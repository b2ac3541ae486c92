"""The data of a recipe, loaded: arrays or a dataset, what is done with them, what `fit` and `adapt` get of them.

npz files and keras.datasets give arrays, which `fit` takes as they are; the other loaders give a batched
tf.data.Dataset. Arrays become a dataset only where the recipe asks for a method that only a dataset has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from kerasjob_trainer.recipe.arguments import Call, said_at

_ADAPT_BATCH = 1024
# What a recipe calls the features where they are one tensor.
ONE_FEATURE = "features"


@dataclass(frozen=True)
class Loaded:
    """One split, as `fit` takes it. `x` is a dataset (then there is nothing else), an array, or arrays by name."""

    x: Any
    y: Any = None
    sample_weight: Any = None

    @property
    def is_dataset(self) -> bool:
        """Whether it is a tf.data.Dataset."""
        return isinstance(self.x, tf.data.Dataset)

    def as_arguments(self) -> dict[str, Any]:
        """For `fit` and `evaluate`."""
        given = {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}
        return {key: value for key, value in given.items() if value is not None}

    def as_validation_data(self) -> Any:
        """For `fit(validation_data=…)`."""
        return self.x if self.is_dataset else tuple(self.as_arguments().values())

    def features(self) -> Any:
        """Shape without the batch, and dtype, of the features: one, or a dict of them by name."""
        spec = self.x.element_spec if self.is_dataset else self.x
        return _by_name(spec[0] if isinstance(spec, tuple) else spec, _shape_and_dtype)

    def labels(self) -> list[str] | None:
        """Names of the labels; None where they have none."""
        spec = self.x.element_spec if self.is_dataset else None
        labels = spec[1] if isinstance(spec, tuple) and len(spec) > 1 else self.y
        return sorted(labels) if isinstance(labels, dict) else None

    def adapt_data(self, feature: str | None, through: Callable[[Any], Any] | None) -> Any:
        """A feature (None: all there are) as the model gets it, after the layers before; an array or batches."""

        def pick(values: Any) -> Any:
            return _by_name(values if feature is None else values[feature], _as_column)

        if self.is_dataset:
            last = through or (lambda values: values)
            return self.x.map(lambda *element: last(pick(element[0])))
        values = pick(self.x)
        if through is None:
            return values
        return tf.data.Dataset.from_tensor_slices(values).batch(_ADAPT_BATCH).map(through)


def _as_column(values: Any) -> Any:
    """A scalar per row is a column for Keras."""
    return values[:, None] if len(values.shape) == 1 else values


def _shape_and_dtype(spec: Any) -> tuple[tuple[int | None, ...], str]:
    shape = tuple(spec.shape)[1:] or (1,)
    return shape, tf.as_dtype(spec.dtype).name


def _by_name(value: Any, function: Callable[[Any], Any]) -> Any:
    """Applies a function to one value, or to each of a dict, in the order of the names."""
    return {key: function(value[key]) for key in sorted(value)} if isinstance(value, dict) else function(value)


@dataclass(frozen=True)
class Split:
    """One split of a recipe: what loads it, and the methods, in order. `features`: their names as far as they can be
    known before (the one of most loaders has none); None where only the file says them."""

    path: str
    load: Callable[[], Loaded]
    methods: tuple[tuple[str, Call], ...]
    features: tuple[str, ...] | None = (ONE_FEATURE,)

    def make(self) -> Loaded:
        """Loads it. Raises Refused."""
        with said_at(self.path):
            loaded = self.load()
        for name, call in self.methods:
            with said_at(call.path):
                loaded = _apply(name, call, loaded)
        return loaded


def _apply(name: str, call: Call, loaded: Loaded) -> Loaded:
    if name == "pad_sequences":
        return replace(loaded, x=_by_name(loaded.x, call.make))
    if name in ("skip", "take") and not loaded.is_dataset:
        count = call.arguments["count"]
        rows = slice(count, None) if name == "skip" else slice(count if count >= 0 else None)
        return Loaded(
            **{key: _by_name(value, lambda array: array[rows]) for key, value in loaded.as_arguments().items()}
        )
    dataset = loaded.x
    if not loaded.is_dataset:
        dataset = tf.data.Dataset.from_tensor_slices(tuple(loaded.as_arguments().values()))
    return Loaded(call.function(dataset, **call.arguments))
