"""`recipe.compile`, `fit`, `callbacks` and `evaluate`: the arguments of Keras's own methods. Used by `running`."""

from __future__ import annotations

from typing import Any

import keras

from kerasjob_api.faults import hint, short
from kerasjob_api.recipe import named
from kerasjob_trainer.recipe.arguments import Call, Reader
from kerasjob_trainer.recipe.registry import CALLBACK, LOSS, METRIC, OPTIMIZER, Kind

# Before the session takes their place.
_COMPILE, _FIT, _EVALUATE = keras.Model.compile, keras.Model.fit, keras.Model.evaluate
# Arguments of fit and evaluate that other sections give, and which.
_ELSEWHERE = {
    "x": "data.train",
    "y": "data.train",
    "sample_weight": "the loader (npz has sample_weight)",
    "validation_data": "data.validation",
    "callbacks": "the section callbacks",
}


Outputs = tuple[str, ...] | None


def read_compile(reader: Reader, given: dict[str, Any], outputs: Outputs, path: str) -> Call:
    """outputs: names, where the model has more than one; None where they are not known."""
    if given.get("loss") is None:
        reader.fault(f"{path}.loss", "required, but not given")

    def loss(value: Any, place: str) -> Any:
        return _by_output(reader, LOSS, value, outputs, place)

    def metrics(value: Any, place: str) -> Any:
        if isinstance(value, list) or (isinstance(value, dict) and outputs != ()):
            return _by_output(reader, METRIC, value, outputs, place)
        if value is not None:
            reader.fault(place, f"expected a list of metrics, got {short(value)}")
        return None

    def optimizer(value: Any, place: str) -> Any:
        return None if value is None else reader.object(OPTIMIZER, value, place)

    def loss_weights(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            return reader.plain(value, place)
        _check_outputs(reader, value, outputs, place)
        return {key: reader.plain(item, f"{place}.{key}") for key, item in value.items()}

    read = {
        "optimizer": optimizer,
        "loss": loss,
        "metrics": metrics,
        "weighted_metrics": metrics,
        "loss_weights": loss_weights,
    }
    return reader.call(_COMPILE, "compile", given, path, read=read)


def _by_output(reader: Reader, kind: Kind, value: Any, outputs: Outputs, path: str) -> Any:
    """An object, a list of them, or a mapping of the model's outputs to either."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_by_output(reader, kind, item, (), f"{path}[{index}]") for index, item in enumerate(value)]
    pair = named(value)
    is_object = pair is not None and pair[0] in {*kind.classes} - {*(outputs or ())}
    if not isinstance(value, dict) or outputs == () or is_object:
        return reader.object(kind, value, path)
    _check_outputs(reader, value, outputs, path)
    return {key: _by_output(reader, kind, item, (), f"{path}.{key}") for key, item in value.items()}


def _check_outputs(reader: Reader, value: dict[str, Any], outputs: Outputs, path: str) -> None:
    for key in value:
        if outputs is not None and key not in outputs:
            words = (
                f"the model has no output {short(key)}{hint(key, outputs)}" if outputs else "the model has one output"
            )
            reader.fault(f"{path}.{key}", words)


def read_fit(reader: Reader, given: dict[str, Any], path: str) -> Call:
    """Arguments of `Model.fit` but those that other sections give."""
    given = _without_others(reader, given, path)

    def class_weight(value: Any, place: str) -> Any:
        """Keys of JSON are text; Keras wants numbers."""
        if value is None:
            return None
        keys = list(value) if isinstance(value, dict) else [""]
        if not all(key.isdecimal() for key in keys):
            reader.fault(place, f"expected a mapping of class numbers to weights, got {short(value)}")
            return None
        return {int(key): reader.plain(item, f"{place}.{key}") for key, item in value.items()}

    # A line per epoch: a worker's log is no terminal.
    return reader.call(
        _FIT,
        "fit",
        {"verbose": 2, **given},
        path,
        without=_ELSEWHERE,
        read={"class_weight": class_weight},
    )


def read_callbacks(reader: Reader, given: list[Any], path: str) -> tuple[Call, ...]:
    """The callbacks, in order."""
    found = (reader.object(CALLBACK, item, f"{path}[{index}]") for index, item in enumerate(given))
    return tuple(call for call in found if isinstance(call, Call))


def read_evaluate(reader: Reader, given: Any, path: str) -> tuple[str, Call]:
    """Which data, and the arguments of `Model.evaluate`."""
    given = {"data": given} if isinstance(given, str) else dict(given)
    data = given.pop("data", "test")
    given = _without_others(reader, given, path)
    without = [*_ELSEWHERE, "return_dict"]
    return data, reader.call(_EVALUATE, "evaluate", {"verbose": 2, **given}, path, without=without)


def _without_others(reader: Reader, given: dict[str, Any], path: str) -> dict[str, Any]:
    for key in given:
        if key in _ELSEWHERE:
            reader.fault(f"{path}.{key}", f"comes from {_ELSEWHERE[key]}, not from here")
    return {key: value for key, value in given.items() if key not in _ELSEWHERE}
