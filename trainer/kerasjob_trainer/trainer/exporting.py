"""`spec.export`: the model that the program trained last, written by the leader once the program has ended well.

Called by `main`; the agent brings the files to the store.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from kerasjob_api.constants import EXPORT_NAMES
from kerasjob_api.wire import ExportConfig
from kerasjob_trainer.log import log
from kerasjob_trainer.trainer.failure import Refused
from kerasjob_trainer.trainer.threads import outside_of_strategy


def export(model: Any, config: ExportConfig, directory: Path) -> None:
    """Writes it below `directory`, which is made anew. `model`: None where no `fit` was called. Raises Refused."""
    if model is None:
        raise Refused(
            "spec.export: the program has called no `fit`, so there is no model to export; train with `fit`, or save it"
            " in the program and leave spec.export out"
        )
    started = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    target = directory / EXPORT_NAMES[config.format]

    def write() -> None:
        if config.format == "saved_model":
            model.export(target, verbose=False)
        elif config.format == "weights":
            model.save_weights(target)
        else:
            model.save(target)

    try:
        outside_of_strategy(write)
    except Exception as error:
        raise Refused(f"spec.export: the model cannot be written as {config.format}: {error}") from error
    log.info("wrote %s in %.2f s", target.name, time.monotonic() - started)
