"""`recipe.preprocessing`: layers before the model's own, adapted on the training data. Used by `model`.

They are part of the model, so that what is exported takes the data as they are. A list is for all features (joined to
one tensor, where they are several), a mapping has a list per feature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from kerasjob_api.faults import hint
from kerasjob_api.recipe import PATH
from kerasjob_trainer.recipe.arguments import Call, Reader, said_at
from kerasjob_trainer.recipe.data import ONE_FEATURE, Loaded
from kerasjob_trainer.recipe.registry import LAYER
from kerasjob_trainer.trainer.failure import Refused

# With one of these the layer has been given what it would learn.
_STATE = ("vocabulary", "idf_weights", "mean", "variance", "bin_boundaries")


@dataclass(frozen=True)
class Preprocessing:
    """Layers for all features, or by feature."""

    path: str = f"{PATH}.preprocessing"
    together: tuple[Call, ...] = ()
    by_feature: dict[str, tuple[Call, ...]] | None = None

    def apply(self, inputs: Any, loaded: Loaded) -> dict[str, Any]:
        """From the inputs (a tensor, or tensors by feature) to what the model starts from, by name."""
        if self.by_feature is not None:
            if not isinstance(inputs, dict):
                raise Refused(f"{self.path}: the features of data.train are one tensor, without a name; give a list")
            if unknown := [name for name in self.by_feature if name not in inputs]:
                raise Refused(f"{self.path}.{unknown[0]}: data.train has no such feature{hint(unknown[0], inputs)}")
            return {
                name: self._chain(tensor, self.by_feature.get(name, ()), loaded, name)
                for name, tensor in inputs.items()
            }
        if isinstance(inputs, dict) and not self.together:
            return inputs
        first = Joined(self.path) if isinstance(inputs, dict) else None
        return {ONE_FEATURE: self._chain(inputs, self.together, loaded, None, first)}

    def _chain(
        self, value: Any, calls: tuple[Call, ...], loaded: Loaded, feature: str | None, join: Joined | None = None
    ) -> Any:
        done: list[Any] = []
        if join is not None:
            done, value = [join], join(value)
        for call in calls:
            layer = call.make()
            with said_at(call.path):
                if hasattr(layer, "adapt") and not call.gives(*_STATE):
                    layer.adapt(loaded.adapt_data(feature, _one_after_the_other(done) if done else None))
                value = layer(value)
            done.append(layer)
        return value


class Joined:
    """Several features as one tensor, in the order of their names."""

    def __init__(self, path: str) -> None:
        self._path, self._layer = path, keras.layers.Concatenate()

    def __call__(self, values: dict[str, Any]) -> Any:
        """Raises Refused where one of several is text."""
        names = sorted(values)
        if len(names) == 1:
            return values[names[0]]
        texts = [name for name in names if keras.backend.standardize_dtype(values[name].dtype) == "string"]
        if texts:
            raise Refused(
                f"{self._path}: the features {', '.join(names)} are to be one tensor, but {texts[0]} is text;"
                f" give preprocessing by feature, as {{{texts[0]}: [StringLookup: {{output_mode: one_hot}}]}}"
            )
        with said_at(self._path):
            return self._layer([values[name] for name in names])


def _one_after_the_other(layers: list[Any]) -> Callable[[Any], Any]:
    """The layers as in prediction: what they would change at random they leave."""

    def through(value: Any) -> Any:
        for layer in layers:
            takes = isinstance(layer, keras.layers.Layer) and "training" in inspect.signature(layer.call).parameters
            value = layer(value, training=False) if takes else layer(value)
        return value

    return through


def read_preprocessing(reader: Reader, given: Any, features: tuple[str, ...] | None, path: str) -> Preprocessing:
    """Reads the section, whose structure is right. features: names as far as they are known."""

    def calls(items: list[Any], place: str) -> tuple[Call, ...]:
        found = (reader.object(LAYER, item, f"{place}[{index}]") for index, item in enumerate(items))
        return tuple(call for call in found if isinstance(call, Call))

    if not isinstance(given, dict):
        return Preprocessing(path, calls(given or [], path))
    for name in given:
        if features == (ONE_FEATURE,):
            reader.fault(f"{path}.{name}", "the features of data.train are one tensor, without a name; give a list")
        elif features is not None and name not in features:
            reader.fault(f"{path}.{name}", f"data.train has no such feature{hint(name, features)}")
    return Preprocessing(path, by_feature={name: calls(items, f"{path}.{name}") for name, items in given.items()})
