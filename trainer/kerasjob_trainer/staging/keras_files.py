"""Staged files that have the name of a `keras.datasets` file are linked to where Keras keeps them: `load_data()` needs
no network then. Called by the agent's staging; `trainer/staged_datasets.py` makes Keras accept them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

_FASHION = (
    "train-labels-idx1-ubyte.gz",
    "train-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
)
# File name -> folder below KERAS_HOME, as in Keras 3's `keras/src/datasets`.
FOLDERS = {
    **dict.fromkeys(
        (
            "mnist.npz",
            "imdb.npz",
            "imdb_word_index.json",
            "reuters.npz",
            "reuters_word_index.json",
            "boston_housing.npz",
            "california_housing.npz",
            "cifar-10-python.tar.gz",
            "cifar-10-batches-py.tar.gz",
            "cifar-100-python.tar.gz",
        ),
        "datasets",
    ),
    **dict.fromkeys(_FASHION, "datasets/fashion-mnist"),
}


def link_datasets(files: list[Path], keras_home: Path) -> list[str]:
    """Links what Keras would look for; answers the names."""
    linked = []
    for path in files:
        folder = FOLDERS.get(path.name)
        if folder is None:
            continue
        place = keras_home / folder / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        place.symlink_to(path.absolute())
        linked.append(path.name)
    return linked
