"""A recipe, the program without Python: what of it can be checked without Keras. Sections, their types, its size.

Called by core's validation, so that `kubectl` and `kerasjob validate` say it at once, and again by the trainer, which
goes on with what needs Keras: the names of layers and the like, and their arguments. Nothing here knows one of those.
The order of a mapping's keys means nothing: the API server sorts them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from typing import Any

from kerasjob_api.constants import RECIPE_MAX_BYTES
from kerasjob_api.faults import hint, short

PATH = "spec.program.recipe"
SECTIONS = ("data", "preprocessing", "model", "compile", "fit", "callbacks", "evaluate", "export")
REQUIRED = ("data", "model", "compile")
SPLITS = ("train", "validation", "test")
# Loaders by their names in keras.utils, tf.data.experimental and (arrays of a file) numpy; and keras.datasets by name.
LOADERS = (
    "audio_dataset_from_directory",
    "image_dataset_from_directory",
    "make_csv_dataset",
    "npz",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
)
DATASETS = "datasets."
# What follows a loader: methods of tf.data.Dataset, and the padding of keras.utils for sequences of any length.
METHODS = ("pad_sequences", "skip", "take", "cache", "shuffle", "batch", "prefetch")
MODELS = ("layers", "functional")
# Format of an export and how its path ends.
FORMATS = {"keras": ".keras", "saved_model": "", "weights": ".weights.h5"}
# Deeper than any model, and far from what recursion can bear.
DEPTH_MAX = 32


def recipe_faults(recipe: Any, path: str = PATH) -> list[str]:
    """All that is wrong with a recipe and can be seen without Keras, each with its path."""
    faults = _no_plain_data(recipe, path)
    if faults:
        return faults  # nothing else could be looked at safely
    if not isinstance(recipe, dict):
        return [f"{path}: expected a mapping of sections ({', '.join(SECTIONS)}), got {short(recipe)}"]
    faults = [f"{path}.{key}: unknown section{hint(key, SECTIONS)}" for key in recipe if key not in SECTIONS]
    faults += [f"{path}.{key}: required, but not given" for key in REQUIRED if recipe.get(key) is None]
    for key in SECTIONS:
        if recipe.get(key) is not None:
            faults += _CHECKS[key](recipe[key], f"{path}.{key}")
    return faults + _missing_test_data(recipe, path)


def with_text_keys(recipe: Any) -> Any:
    """The recipe as the server has it, where `class_weight: {0: 1.0}` is `{"0": 1.0}`; as given where it is no data."""
    return _text_keys(recipe) if is_plain_data(recipe) else recipe


def is_plain_data(recipe: Any) -> bool:
    """Whether it can be JSON of the allowed size and depth."""
    return not _no_plain_data(recipe, "")


def named(item: Any) -> tuple[str, Any] | None:
    """Name and arguments of `Flatten` or `{Dense: {units: 10}}`; None for anything else."""
    if isinstance(item, str):
        return item, None
    if isinstance(item, dict) and len(item) == 1:
        return next(iter(item.items()))
    return None


def loader_of(split: dict[str, Any]) -> list[str]:
    """The loaders among the keys of a split; one where it is right."""
    return [key for key in split if key in LOADERS or key.startswith(DATASETS)]


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value


def _no_plain_data(recipe: Any, path: str) -> list[str]:
    """What JSON cannot carry, or not in this size. Without recursion: YAML may be deep, or point to itself."""
    faults: list[str] = []
    todo, num_values = [(recipe, path, 0)], 0
    too_large = f"{path}: at most {RECIPE_MAX_BYTES // 1024} KiB; put what is large into a file and name it"
    while todo:
        value, place, depth = todo.pop()
        num_values += 1
        if num_values > RECIPE_MAX_BYTES:
            return [too_large]
        if depth > DEPTH_MAX:
            return [f"{path}: nested deeper than {DEPTH_MAX} levels"]
        if isinstance(value, dict):
            for key, item in value.items():
                if isinstance(key, bool) or not isinstance(key, (str, int)):
                    faults.append(f"{place}: a key must be text, got {short(key)}; quote it")
                else:
                    todo.append((item, f"{place}.{key}", depth + 1))
        elif isinstance(value, list):
            todo += [(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
        elif isinstance(value, float) and not math.isfinite(value):
            faults.append(f"{place}: expected a finite number, got {value}")
        elif not isinstance(value, (str, int, float, type(None))):
            faults.append(f"{place}: expected text, a number, true, false, a list or a mapping, got {short(value)}")
    if not faults and len(json.dumps(recipe, ensure_ascii=False, separators=(",", ":")).encode()) > RECIPE_MAX_BYTES:
        return [too_large]
    return faults[::-1]


def _unknown_keys(value: dict[str, Any], known: Collection[str], path: str) -> Iterator[str]:
    for key in value:
        if key not in known:
            yield f"{path}.{key}: unknown key{hint(key, known)}"


def _no_mapping(value: Any, path: str, of: str) -> list[str]:
    return [] if isinstance(value, dict) else [f"{path}: expected a mapping of {of}, got {short(value)}"]


def _data(data: Any, path: str) -> list[str]:
    if faults := _no_mapping(data, path, ", ".join(SPLITS)):
        return faults
    faults = list(_unknown_keys(data, SPLITS, path))
    if data.get("train") is None:
        faults.append(f"{path}.train: required, but not given")
    for key in SPLITS:
        if data.get(key) is not None:
            faults += _split(data[key], f"{path}.{key}")
    return faults


def _split(split: Any, path: str) -> list[str]:
    names = f"{', '.join(LOADERS)} or {DATASETS}NAME"
    if not isinstance(split, dict):
        return [f"{path}: expected one loader with its arguments ({names}), got {short(split)}"]
    loaders = loader_of(split)
    faults = [
        f"{path}.{key}: unknown loader{hint(key, (*LOADERS, *METHODS))}"
        for key in split
        if key not in METHODS and key not in loaders
    ]
    if len(loaders) != 1 and not faults:
        given = " and ".join(loaders) or "none"
        faults.append(f"{path}: expected exactly one loader ({names}), got {given}")
    for key in loaders:
        if split[key] is not None:
            faults += _no_mapping(split[key], f"{path}.{key}", "arguments")
    return faults


def _preprocessing(value: Any, path: str) -> list[str]:
    if isinstance(value, dict):
        return [fault for key, items in value.items() for fault in _items(items, f"{path}.{key}", "layer")]
    return _items(value, path, "layer")


def _model(model: Any, path: str) -> list[str]:
    if faults := _no_mapping(model, path, " or ".join(MODELS)):
        return faults
    faults = list(_unknown_keys(model, MODELS, path))
    given = [key for key in MODELS if model.get(key) is not None]
    if len(given) != 1 and not faults:
        faults.append(f"{path}: expected exactly one of layers and functional, got {' and '.join(given) or 'none'}")
    if "layers" in given:
        faults += _items(model["layers"], f"{path}.layers", "layer", least=1)
    if "functional" in given:
        faults += _functional(model["functional"], f"{path}.functional")
    return faults


def _functional(graph: Any, path: str) -> list[str]:
    known = ("inputs", "layers", "outputs")
    if faults := _no_mapping(graph, path, ", ".join(known)):
        return faults
    faults = list(_unknown_keys(graph, known, path))
    if graph.get("layers") is None:
        faults.append(f"{path}.layers: required, but not given")
    else:
        faults += _items(graph["layers"], f"{path}.layers", "layer", least=1, beside=("inputs",))
    if graph.get("inputs") is not None:
        faults += _no_mapping(graph["inputs"], f"{path}.inputs", "names and the arguments of Input")
    outputs = graph.get("outputs")
    if outputs is not None and not is_names(outputs):
        faults.append(f"{path}.outputs: expected the name of a layer or a list of them, got {short(outputs)}")
    return faults


def is_names(value: Any) -> bool:
    """A name, or a list of at least one."""
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
    )


def _items(items: Any, path: str, what: str, least: int = 0, beside: tuple[str, ...] = ()) -> list[str]:
    example = "names, each as `Name` or `Name: {argument: value}`"
    if not isinstance(items, list):
        return [f"{path}: expected a list of {what} {example}, got {short(items)}"]
    if len(items) < least:
        return [f"{path}: expected at least {least} {what}, got none"]
    faults = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        own = {key: value for key, value in item.items() if key not in beside} if isinstance(item, dict) else item
        pair = named(own)
        if pair is None:
            also = f", beside it {', '.join(beside)}" if beside else ""
            faults.append(f"{place}: expected one {what} as `Name` or `Name: {{…}}`{also}; got {short(item)}")
        elif pair[1] is not None:
            faults += _no_mapping(pair[1], f"{place}.{pair[0]}", "arguments")
    return faults


def _arguments(value: Any, path: str) -> list[str]:
    return _no_mapping(value, path, "arguments")


def _callbacks(value: Any, path: str) -> list[str]:
    return _items(value, path, "callback")


def _evaluate(value: Any, path: str) -> list[str]:
    if isinstance(value, str):
        return [] if value in SPLITS else [f"{path}: expected one of {', '.join(SPLITS)}, got {short(value)}"]
    if faults := _no_mapping(value, path, "arguments, or the name of the data"):
        return faults
    data = value.get("data", "test")
    return [] if data in SPLITS else [f"{path}.data: expected one of {', '.join(SPLITS)}, got {short(data)}"]


def _missing_test_data(recipe: dict[str, Any], path: str) -> list[str]:
    """`evaluate` of data that are not there."""
    value, data = recipe.get("evaluate"), recipe.get("data")
    if value is None or not isinstance(data, dict):
        return []
    name = value.get("data", "test") if isinstance(value, dict) else value
    if name not in SPLITS or data.get(name) is not None:
        return []
    return [f"{path}.evaluate: there is no {path}.data.{name}"]


def _export(value: Any, path: str) -> list[str]:
    known = ("path", "format")
    if faults := _no_mapping(value, path, " and ".join(known)):
        return faults
    faults = list(_unknown_keys(value, known, path))
    target, form = value.get("path"), value.get("format", "keras")
    if target is None:
        faults.append(f"{path}.path: required, but not given")
    elif not isinstance(target, str) or not target:
        faults.append(f"{path}.path: expected a path, got {short(target)}")
    if not isinstance(form, str) or form not in FORMATS:
        faults.append(f"{path}.format: expected {', '.join(FORMATS)}, got {short(form)}{hint(str(form), FORMATS)}")
    elif isinstance(target, str) and not target.endswith(FORMATS[form]):
        faults.append(f"{path}.path: of format {form} it must end with {FORMATS[form]}, got {target!r}")
    return faults


_CHECKS = {
    "data": _data,
    "preprocessing": _preprocessing,
    "model": _model,
    "compile": _arguments,
    "fit": _arguments,
    "callbacks": _callbacks,
    "evaluate": _evaluate,
    "export": _export,
}
