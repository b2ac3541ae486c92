"""`recipe.data`: each split is one loader with its arguments, and methods beside it. Used by `running`.

What is read here is loaded by `data.Split.make`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasjob_api.faults import hint, short
from kerasjob_api.recipe import DATASETS, loader_of
from kerasjob_trainer.recipe.arguments import Call, Reader
from kerasjob_trainer.recipe.data import ONE_FEATURE, Loaded, Split
from kerasjob_trainer.recipe.registry import datasets
from kerasjob_trainer.trainer.failure import Refused

# Methods in the order in which they are applied, whatever the order in the recipe.
_OF_DATASETS = ("skip", "take", "cache", "shuffle", "batch", "prefetch")
# Those that only a dataset has; skip and take of arrays are slices.
_MAKE_DATASETS = _OF_DATASETS[2:]
# The argument that is meant by a number alone.
_FIRST = {"skip": "count", "take": "count", "shuffle": "buffer_size", "batch": "batch_size", "prefetch": "buffer_size"}


def read_split(reader: Reader, name: str, given: dict[str, Any], path: str) -> Split | None:
    """Reads one split, whose structure is right."""
    (loader,) = loader_of(given)
    place = f"{path}.{loader}"
    arguments = given[loader] or {}
    if loader.startswith(DATASETS):
        load = _keras_dataset(reader, loader, arguments, place, is_train=name == "train")
        arrays = True
    elif loader == "npz":
        load, arrays = _npz(reader, arguments, place), True
    else:
        load, arrays = _function(reader, loader, arguments, place), False
    methods = tuple(_methods(reader, given, path, arrays))
    if load is None:
        return None
    names: tuple[str, ...] | None = (ONE_FEATURE,)
    if loader == "make_csv_dataset":
        names = None
    elif loader == "npz" and isinstance(arguments.get("features"), (list, dict)):
        names = tuple(sorted(map(str, arguments["features"])))
    return Split(place, load, methods, names)


def _methods(reader: Reader, given: dict[str, Any], path: str, arrays: bool) -> list[tuple[str, Call]]:
    found = []
    if given.get("pad_sequences") is not None:
        if not arrays:
            reader.fault(f"{path}.pad_sequences", "only arrays (npz, datasets.NAME) can be padded")
        pads = keras.utils.pad_sequences
        call = reader.call(
            pads, "pad_sequences", given["pad_sequences"], f"{path}.pad_sequences", without=["sequences"]
        )
        found.append(("pad_sequences", call))
    for name in _OF_DATASETS:
        value = given.get(name)
        if value is None or (name == "cache" and value is False):
            continue
        place, method = f"{path}.{name}", getattr(tf.data.Dataset, name)
        if name == "cache" and value is not True:
            reader.fault(place, f"expected true or false, got {short(value)}")
            continue
        if name == "batch" and not arrays:
            reader.fault(place, "the loader makes batches itself; give it batch_size")
        if not isinstance(value, dict):
            value = {} if name == "cache" else {_FIRST[name]: value}
        call = reader.call(method, name, value, place)
        number = call.arguments.get(_FIRST.get(name, ""), 0)
        if isinstance(number, bool) or not isinstance(number, int):
            reader.fault(place, f"expected a whole number, got {short(number)}")
        found.append((name, call))
    names = [name for name, _ in found]
    if arrays and "batch" not in names and (needing := [name for name in names if name in _MAKE_DATASETS]):
        reader.fault(
            f"{path}.{needing[0]}",
            "of arrays it needs batch beside it, which makes a tf.data.Dataset of them; without both, fit's batch_size"
            " and shuffle do it",
        )
    return found


def _keras_dataset(
    reader: Reader, loader: str, arguments: dict[str, Any], path: str, *, is_train: bool
) -> Callable[[], Loaded] | None:
    name, known = loader.removeprefix(DATASETS), datasets()
    if name not in known:
        reader.fault(path, f"keras.datasets has no {short(name)}{hint(name, known)}")
        return None
    # `path` names the file in Keras's own directory, which is where a staged file is found.
    call = reader.call(known[name].load_data, f"{loader}.load_data", arguments, path, without=["path"])

    def load() -> Loaded:
        x, y = call.make()[0 if is_train else 1]
        return Loaded(x, y)

    return load


def _npz(reader: Reader, arguments: dict[str, Any], path: str) -> Callable[[], Loaded] | None:
    # Not x and y as in fit: without quotes y is true in YAML.
    known = ("file", "features", "labels", "sample_weight")
    for key in arguments:
        if key not in known:
            reader.fault(f"{path}.{key}", f"npz has no argument {short(key)}{hint(key, known)}")
    for key in ("file", "features"):
        if arguments.get(key) is None:
            reader.fault(f"{path}.{key}", "npz requires it, but it is not given")
    if not isinstance(arguments.get("file", ""), str):
        reader.fault(f"{path}.file", f"expected a path, got {short(arguments['file'])}")
    if arguments.get("sample_weight") is not None and arguments.get("labels") is None:
        reader.fault(f"{path}.labels", "npz requires it beside sample_weight, but it is not given")
    for key in known[1:]:
        value = arguments.get(key)
        names = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if value is not None and not (names and all(isinstance(name, str) for name in names)):
            reader.fault(
                f"{path}.{key}",
                f"expected the name of an array of the file, a list of them, or a mapping of feature or output names to"
                f" them; got {short(value)}{hint('true', ()) if value is True else ''}",
            )

    def load() -> Loaded:
        with np.load(arguments["file"], allow_pickle=False) as arrays:
            return Loaded(*(_arrays(arrays, arguments.get(key), f"{path}.{key}") for key in known[1:]))

    return load


def _arrays(arrays: Any, names: Any, path: str) -> Any:
    """The array of a name, or the arrays of a mapping or a list, by name."""
    if isinstance(names, list):
        names = {name: name for name in names}
    if isinstance(names, dict):
        return {key: _arrays(arrays, name, f"{path}.{key}") for key, name in sorted(names.items())}
    if names is None:
        return None
    if names not in arrays:
        raise Refused(f"{path}: the file has no array {names!r}{hint(names, list(arrays))}")
    return arrays[names]


def _function(reader: Reader, loader: str, arguments: dict[str, Any], path: str) -> Callable[[], Loaded] | None:
    """A loader of Keras or TensorFlow that gives a dataset."""
    if loader == "make_csv_dataset":
        call = reader.call(tf.data.experimental.make_csv_dataset, loader, {"num_epochs": 1, **arguments}, path)
        if not call.gives("num_epochs"):
            reader.fault(f"{path}.num_epochs", "without end, training would never reach the end of an epoch; give 1")
        if call.arguments.get("sloppy"):
            reader.fault(f"{path}.sloppy", "workers would not see the same rows; leave it out")
        return lambda: Loaded(call.make().map(_with_dicts))
    series = {key: lambda value, place: _series(reader, value, place) for key in ("data", "targets")}
    call = reader.call(getattr(keras.utils, loader), loader, arguments, path, without=["format"], read=series)
    if "batch_size" in call.arguments and call.arguments["batch_size"] is None:
        reader.fault(f"{path}.batch_size", "expected a number: training needs batches, got null")
    if call.arguments.get("subset") == "both":
        reader.fault(f"{path}.subset", "expected training, in data.train, or validation, in data.validation")
    return lambda: Loaded(call.make())


def _with_dicts(*element: Any) -> Any:
    """Keras takes the columns of an OrderedDict in their own order, not by name."""
    plain = tuple(dict(part) if isinstance(part, dict) else part for part in element)
    return plain if len(plain) > 1 else plain[0]


def _series(reader: Reader, value: Any, path: str) -> Any:
    """An array argument: `{npz: {file: …, features: NAME}}`."""
    if value is None:
        return None
    if not (isinstance(value, dict) and list(value) == ["npz"] and isinstance(value["npz"], dict)):
        reader.fault(path, f"expected the array of a file as {{npz: {{file: …, features: NAME}}}}, got {short(value)}")
        return None
    load = _npz(reader, value["npz"], f"{path}.npz")
    return None if load is None else Call(f"{path}.npz", lambda: load().x)
