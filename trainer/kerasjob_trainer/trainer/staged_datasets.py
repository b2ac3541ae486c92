"""`keras.datasets.*.load_data()` takes a staged file as it is: no download, no check of its hash, for a subset under
the same name is a legal stand-in. Applied by `main`; the agent has linked the files below `KERAS_HOME`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from keras.src import datasets
from keras.src.utils.file_utils import get_file

from kerasjob_trainer.staging.keras_files import FOLDERS


def apply(keras_home: Path) -> None:
    """Puts the lookup before `get_file` in every dataset module of Keras, where there is anything staged."""
    if not any((keras_home / folder / name).exists() for name, folder in FOLDERS.items()):
        return
    lookup = _with_staged(get_file, keras_home)
    for info in pkgutil.iter_modules(datasets.__path__):
        if not info.name.endswith("_test"):
            module = importlib.import_module(f"{datasets.__name__}.{info.name}")
            if getattr(module, "get_file", None) is get_file:
                module.get_file = lookup  # type: ignore[attr-defined]


def _with_staged(original: Callable[..., str], keras_home: Path) -> Callable[..., str]:
    @functools.wraps(original)
    def lookup(fname: str | None = None, origin: str | None = None, **options: object) -> str:
        name = Path(urlsplit(origin or "").path).name
        staged = [keras_home / FOLDERS[n] / n for n in (name, fname) if n in FOLDERS]
        staged = [path for path in staged if path.exists()]
        if not staged:
            return original(fname=fname, origin=origin, **options)
        if options.get("extract") or options.get("untar"):
            # Keras names the archive it would have downloaded after fname, and unpacks what it finds there.
            target = keras_home / "datasets" / (f"{fname}_archive" if "." not in (fname or name) else fname or name)
            if not target.exists():
                target.symlink_to(staged[0].resolve())
        elif fname not in (None, staged[0].name):
            return str(staged[0])
        return original(
            fname=fname, origin=origin, **{**options, "file_hash": None, "md5_hash": None, "cache_dir": str(keras_home)}
        )

    return lookup
