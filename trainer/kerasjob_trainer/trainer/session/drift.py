"""Workers that would not train the same thing are found before the first step of a `fit`, and what differs is named.

Host code that differs per worker (the order of a set, an unsorted glob, the time, unseeded numbers) makes workers drift
apart in silence: each trains something else, and the sum of their gradients belongs to no model. Called by the session.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

from kerasjob_trainer.global_batch import agreement
from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.session import randomness, variables

# Of an array this much is looked at, spread over it.
SAMPLED_BYTES = 64 * 1024**2

_ADDRESS = re.compile(r"\b0x[0-9a-f]+")


def check(model: Any, iterator: Any, call: int, mark: dict[str, Any]) -> None:
    """Raises Refused, on all workers, where their programs are not the same. `mark`: what the call of `fit` is."""
    workers = agreement.workers()
    if workers is None:
        return
    values = variables.named(model)
    own = _digests(model, iterator, values, mark)
    table = workers.gather(list(own.values()))
    differ = [name for name, column in zip(own, table.T, strict=True) if len(set(column)) > 1]
    if not differ:
        return
    if _VARIABLES in differ:
        each = workers.gather([_of_array(variables.local_value(variable)) for variable in values.values()])
        names = [name for name, column in zip(values, each.T, strict=True) if len(set(column)) > 1]
        differ[differ.index(_VARIABLES)] = f"{_VARIABLES} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
    raise Refused(
        f"the workers do not run the same program: before the first step of fit call {call + 1} they differ in"
        f" {'; '.join(differ)}. Look for what is not the same on every machine: the order of a set or of a glob"
        " (sort it), the time, a random number without a seed, a file that only one of them has"
    )


_VARIABLES = "the initial values of"


def _digests(model: Any, iterator: Any, values: dict[str, Any], mark: dict[str, Any]) -> dict[str, int]:
    """A number for each thing that must be the same. Always the same things, so that numbers stand side by side."""
    adapter = iterator.data_adapter
    dataset = getattr(adapter, "_dataset", None)
    return {
        "the names and shapes of variables": _of([(name, tuple(v.shape)) for name, v in values.items()]),
        _VARIABLES: _fold(_of_array(variables.local_value(variable)) for variable in values.values()),
        "the configuration of the model": _of(_config(model)),
        "the arguments of fit": _of(mark),
        "the number of batches": _of(iterator.num_batches),
        "the structure of a batch": _of(str(iterator._distributed_dataset.element_spec)),
        "the class names of the dataset": _of(getattr(dataset, "class_names", None)),
        "the files or rows of the dataset": _of_sources(dataset),
        "the arrays": _of_arrays(adapter),
        "the random states": _of(randomness.capture()),
    }


def _of(value: Any) -> int:
    # Functions and objects show an address, which is another one in each process.
    return zlib.crc32(_ADDRESS.sub("", json.dumps(value, sort_keys=True, default=str)).encode())


def _fold(numbers: Any) -> int:
    return zlib.crc32(np.fromiter(numbers, np.int64).tobytes())


def _of_array(value: Any) -> int:
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        return _of(_without_common_folder([_text(item) for item in array.reshape(-1)]))
    step = max(1, array.nbytes // SAMPLED_BYTES)
    return zlib.crc32(np.ascontiguousarray(array[::step] if array.ndim else array).tobytes())


def _text(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _without_common_folder(texts: list[str]) -> list[str]:
    """Paths below a folder that each worker has in a place of its own are the same paths."""
    if not texts or not all(text.startswith("/") for text in texts):
        return texts
    folder = os.path.commonpath(texts) if len(texts) > 1 else os.path.dirname(texts[0])  # noqa: PTH120
    return [os.path.relpath(text, folder) for text in texts]


def _config(model: Any) -> Any:
    try:
        return model.get_config()
    except Exception:  # a model of the program need not have one
        return None


def _of_arrays(adapter: Any) -> int:
    if not isinstance(adapter, ArrayDataAdapter):
        return 0
    arrays = [leaf for leaf in tree.flatten(adapter._inputs) if isinstance(leaf, np.ndarray)]
    return _fold(_of_array(array) for array in arrays)


def _of_sources(dataset: Any) -> int:
    """Tensors that a tf.data pipeline begins with: paths of files, rows in memory."""
    if dataset is None or not hasattr(dataset, "_inputs"):
        return 0
    inputs = dataset._inputs()
    if inputs:
        return _fold(_of_sources(one) for one in inputs)
    return _fold(_of_array(tensor.numpy()) for tensor in getattr(dataset, "_tensors", []) if hasattr(tensor, "numpy"))
