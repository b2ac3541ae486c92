"""By what a call of `fit` is known again when the program runs again: its place, arguments, model and data.

Nothing of the data is read: what tells its shapes and its length is looked at. Used by the session.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras.src import tree

from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.session import variables
from kerasjob_trainer.trainer.session.records import CallRecord, call_site, plain

_ARGUMENTS = ("epochs", "batch_size", "steps_per_epoch", "initial_epoch")
_DATA = ("x", "y", "sample_weight", "validation_data")
# Of what is longer a checksum stands for the rest.
TEXT_MAX = 300
_LENGTHS = {tf.data.INFINITE_CARDINALITY: "endless", tf.data.UNKNOWN_CARDINALITY: "of unknown length"}


def of(model: Any, arguments: dict[str, Any], program_dir: Path, num_workers: int) -> dict[str, Any]:
    """Of the call that is about to begin. `num_workers`: a program may make its data for a number of workers."""
    return {
        "site": call_site(program_dir),
        **{name: plain(arguments.get(name)) for name in _ARGUMENTS},
        "workers": num_workers,
        "variables": {
            name: f"{tuple(variable.shape)} {variable.dtype}" for name, variable in variables.named(model).items()
        },
        "data": {name: _short(_spec(arguments[name])) for name in _DATA if arguments.get(name) is not None},
    }


def without_names(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """One that takes less room: it tells that variables differ, and not which."""
    named = fingerprint.get("variables")
    if not isinstance(named, dict):
        return fingerprint
    return fingerprint | {"variables": f"{len(named)} with checksum {_checksum(str(sorted(named.items())))}"}


def of_call(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Place and arguments alone."""
    return {name: fingerprint[name] for name in ("site", *_ARGUMENTS)}


def check_same(record: CallRecord, now: dict[str, Any]) -> None:
    """Raises Refused where a call is not the one that was saved."""
    then = record.fingerprint
    differ = _differences(of_call(then), of_call(now))
    if isinstance(then.get("variables"), dict):
        differ += [f"variable {difference}" for difference in _differences(then["variables"], now["variables"])]
    elif "variables" in then:
        differ += _differences(*({"variables": each["variables"]} for each in (then, without_names(now))))
    if then.get("workers") == now["workers"]:  # older checkpoints know of neither
        differ += _differences(then["data"], now["data"])
    if differ:
        raise Refused(
            f"fit call {record.call + 1} is not the one that was saved, so the program or its data has changed, or it"
            f" does not run the same way twice: {'; '.join(differ[:8])}. Run the program that was saved, or a new job"
        )


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    differ = [f"{name} is missing" for name in then if name not in now]
    differ += [f"{name} is new" for name in now if name not in then]
    return differ + [
        f"{name} was {then[name]!r} and is {now[name]!r}" for name in then if name in now and then[name] != now[name]
    ]


def _spec(data: Any) -> str:
    if isinstance(data, tf.data.Dataset):
        length = int(data.cardinality())
        return f"a dataset of {data.element_spec}, {_LENGTHS.get(length, f'{length} elements')}"
    if isinstance(data, keras.utils.PyDataset):
        return f"{type(data).__qualname__} of {data.num_batches} batches"
    return ", ".join(_spec_of_leaf(leaf) for leaf in tree.flatten(data))


def _spec_of_leaf(value: Any) -> str:
    if not hasattr(value, "shape"):
        return type(value).__qualname__
    dtype = getattr(value, "dtype", "")  # a table has one for each column
    return f"{value.shape} {getattr(dtype, 'name', dtype)}".strip()


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… with checksum {_checksum(text)}"


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
