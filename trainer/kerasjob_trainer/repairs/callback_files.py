"""Workers that share a folder write the same files at the same time: ModelCheckpoint and `model.save` leave a torn
file, CSVLogger mixes the lines of all, TensorBoard shows every curve N times, BackupAndRestore fails on a file lock.

A model is written beside its place and moved there: whoever is last, the file is whole. CSVLogger and TensorBoard write
on the first worker alone where the folder is shared, and where it is not on all, so that whoever is left when one is
lost has the files. BackupAndRestore does nothing: the job's own checkpoints
take its place.
See https://www.tensorflow.org/tutorials/distribute/multi_worker_with_keras#model_saving_and_loading.
"""

from __future__ import annotations

import functools
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras.src.callbacks import BackupAndRestore, CSVLogger, TensorBoard
from keras.src.saving import saving_lib

from kerasjob_trainer.global_batch import agreement
from kerasjob_trainer.log import log

_BACKUP_HOOKS = ("on_train_begin", "on_epoch_end", "on_train_batch_end", "on_train_end")
PATCHED = (
    saving_lib.save_model,
    saving_lib.save_weights_only,
    CSVLogger.on_train_begin,
    TensorBoard.set_model,
    *(getattr(BackupAndRestore, hook) for hook in _BACKUP_HOOKS if hook in vars(BackupAndRestore)),
)


def apply() -> None:
    """Wraps the functions."""
    for name in ("save_model", "save_weights_only"):
        setattr(saving_lib, name, _moved_into_place(getattr(saving_lib, name)))
    _wrap_csv_logger()
    _wrap_tensorboard()
    for hook in _BACKUP_HOOKS:
        setattr(BackupAndRestore, hook, lambda self, *args, **kwargs: None)
    _say_once_of_backups()


def _moved_into_place(save: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(save)
    def save_beside(model: Any, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(filepath, (str, os.PathLike)) or "://" in str(filepath):
            return save(model, filepath, *args, **kwargs)
        target = Path(filepath)
        if not str(target).endswith((".keras", ".weights.h5")):
            return save(model, filepath, *args, **kwargs)
        suffix = ".weights.h5" if target.name.endswith(".weights.h5") else ".keras"
        beside = target.with_name(f".{target.name}-{os.getpid()}-{random.SystemRandom().randrange(2**32):08x}{suffix}")
        try:
            result = save(model, str(beside), *args, **kwargs)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
        return result

    return save_beside


def _wrap_csv_logger() -> None:
    original = CSVLogger.on_train_begin

    def on_train_begin(self: Any, logs: Any = None) -> None:
        workers = agreement.workers()
        if workers is not None and _is_shared(Path(self.filename).parent, workers) and workers.rank > 0:
            self.filename = str(_private() / Path(self.filename).name)
        original(self, logs)

    CSVLogger.on_train_begin = on_train_begin


def _wrap_tensorboard() -> None:
    original = TensorBoard.set_model
    known: dict[Any, Any] = {}  # where each folder's files go; all workers ask the same at the same time

    def set_model(self: Any, model: Any) -> None:
        workers = agreement.workers()
        if workers is not None and self.log_dir not in known:
            is_shared = "://" in str(self.log_dir) or _is_shared(Path(self.log_dir), workers)
            mine = str(_private()) if is_shared and workers.rank > 0 else self.log_dir
            known[self.log_dir] = known[mine] = mine
        self.log_dir = known.get(self.log_dir, self.log_dir)
        original(self, model)

    TensorBoard.set_model = set_model


def _say_once_of_backups() -> None:
    original = BackupAndRestore.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        log.info("BackupAndRestore does nothing in a job of several workers: the job's checkpoints take its place")
        original(self, *args, **kwargs)

    BackupAndRestore.__init__ = __init__


def _is_shared(folder: Path, workers: agreement.Workers) -> bool:
    """Whether what the first worker writes in a folder is seen by this one."""
    number = int(workers.gather([random.SystemRandom().randrange(2**62)])[0, 0])
    marker = folder / f".kerasjob-{number:016x}"
    if workers.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
    workers.barrier()
    shared = marker.exists()
    workers.barrier()
    if workers.rank == 0:
        marker.unlink()
    return shared


def _private() -> Path:
    """A folder of this worker, for what nobody reads."""
    return Path(tempfile.mkdtemp(prefix="kerasjob-"))
