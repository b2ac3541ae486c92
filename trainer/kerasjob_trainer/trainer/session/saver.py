"""Hands whole states to the agent, which keeps the newest in memory for other workers, and uploads what is due.

The state goes as a file in memory, the rest, which is small, as files in a directory. Used by the session.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras.src.saving import saving_lib

from kerasjob_api.constants import SavePhase
from kerasjob_trainer.log import log
from kerasjob_trainer.manifests import KERAS_FILE
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.session.buffers import Buffer, Buffers, Tensors
from kerasjob_trainer.trainer.threads import outside_of_strategy


@dataclass(frozen=True)
class Snapshot:
    """What belongs to a state besides its tensors.

    `session`: JSON text. `outputs`: packs the program's files, in archives, with their index; raises OSError where that
    fails. `keep`: checkpoints that this one needs.
    `metrics`: of the epoch that has ended. `model`: to be written as a Keras file as well.
    """

    step: int
    phase: SavePhase
    session: str
    position: dict[str, Any]
    keep: tuple[str, ...]
    outputs: Callable[[], Sequence[Path]] = tuple
    metrics: dict[str, float] = field(default_factory=dict)
    model: Any = None


class Saver:
    """Of one trainer. Where the agent has not done with the states before, what is due is left out, and said."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        self._spec, self._control = spec, control
        # Without a store nothing is on its way, and what the agent holds it holds for good.
        self._buffers = Buffers() if spec.can_save else Buffers(most=sys.maxsize)
        self._numbers = itertools.count()
        self._is_late = False

    def buffer(self) -> Buffer | None:
        """To be filled with a state that is due; None where it is left out."""
        buffer = self._buffers.take()
        if buffer is None:
            self._control.send("late")
            if not self._is_late:
                log.warning("a checkpoint is due and those before are still on their way to the store: it is left out")
        self._is_late = buffer is None
        return buffer

    def extra_buffer(self) -> Buffer:
        """To be filled with a state that cannot be left out. To wait for it is no stall."""
        has_said = False

        def waits() -> None:
            nonlocal has_said
            if not has_said:
                log.warning("waits for states that are on their way to the store")
            has_said = True
            self._control.send("beat")

        return self._buffers.take_extra(waits)

    def prepare(self, size: int) -> None:
        """A state of about so many bytes will be saved."""
        self._buffers.prepare(size)

    def wait_no_longer(self) -> None:
        """This trainer ends."""
        self._buffers.wait_no_longer()

    def released(self, number: int) -> None:
        """The agent is done with a buffer."""
        self._buffers.give_back(number)

    def hand_over(self, snapshot: Snapshot, tensors: Tensors, buffer: Buffer, *, upload: bool) -> bool:
        """Copies the tensors, which may change then. What cannot be written is said and counts as not saved: False."""
        number = next(self._numbers)
        directory = Path(self._spec.snapshots) / f"{snapshot.step}-r{self._spec.revision}-{number}"
        try:
            buffer.write(tensors)
            self._buffers.prepare(buffer.size)
            directory.mkdir(parents=True)
            (directory / "session.json").write_text(snapshot.session)
            for file in snapshot.outputs():
                _link(file, directory / file.name)
            if snapshot.model is not None:
                _write_keras_file(snapshot.model, directory / KERAS_FILE)
        except Exception as error:  # a full disk, no more memory: training goes on
            log.error("the state of step %d cannot be saved: %s: %s", snapshot.step, type(error).__name__, error)
            shutil.rmtree(directory, ignore_errors=True)
            self._buffers.give_back(buffer.number)
            self._control.send("notSaved")
            return False
        self._control.send(
            "saved",
            fd=buffer.fd,
            buffer=buffer.number,
            directory=str(directory),
            step=snapshot.step,
            position=snapshot.position,
            keep=list(snapshot.keep),
            metrics=snapshot.metrics,
            upload=upload,
        )
        return True


def _write_keras_file(model: Any, path: Path) -> None:
    started = time.monotonic()
    try:
        outside_of_strategy(lambda: saving_lib.save_model(model, path))
    except Exception as error:  # a model that Keras cannot save: the checkpoint is whole without it
        log.warning("the checkpoint has no %s: %s: %s", path.name, type(error).__name__, error)
        path.unlink(missing_ok=True)
    else:
        log.info("wrote %s in %.2f s", path.name, time.monotonic() - started)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
