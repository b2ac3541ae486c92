"""A trainer from fork to end: seeds, strategy, repairs, session, the user's program. Called by the warm process.

Imported before the fork, so nothing here may touch a device at import.
"""

from __future__ import annotations

import faulthandler
import os
import runpy
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import keras

from kerasjob_api.codec import to_wire
from kerasjob_api.exit_codes import ExitCode
from kerasjob_trainer import log as logs
from kerasjob_trainer import repairs
from kerasjob_trainer.log import log
from kerasjob_trainer.recipe import running
from kerasjob_trainer.runspec import RunSpec
from kerasjob_trainer.staging.code import script_path
from kerasjob_trainer.trainer import array_order, late_settings, old_spellings, own_strategy, staged_datasets
from kerasjob_trainer.trainer.control import Control
from kerasjob_trainer.trainer.exporting import export
from kerasjob_trainer.trainer.failure import classify
from kerasjob_trainer.trainer.session import Session
from kerasjob_trainer.trainer.strategy import barrier, enter_scope, make_strategy, meet


def run(spec: RunSpec, agent: socket.socket) -> int:
    """Runs the program; answers the exit code. The caller ends the process with it."""
    logs.setup(spec.job, spec.slot, "trainer", spec.revision)
    Path(spec.temporary).mkdir(exist_ok=True)
    os.environ["TMPDIR"], tempfile.tempdir = spec.temporary, None
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    control = Control(agent)
    session = Session(spec, control)
    try:
        strategy = make_strategy(spec)
        # After the strategy: TensorFlow installs a handler of its own with it, which swallows the signal.
        signal.signal(signal.SIGTERM, _stop)
        enter_scope(strategy)
        repairs.apply(strategy)
        own_strategy.apply()
        late_settings.apply()
        old_spellings.apply()
        keras.utils.set_random_seed(spec.seed % 2**32)
        array_order.apply()
        staged_datasets.apply(Path(spec.keras_home))
        session.install()
        control.listen(
            {
                "stop": lambda _: session.request_stop(),
                "released": lambda message: session.buffer_released(message["buffer"]),
                "peerLost": lambda _: session.peer_lost(),
            }
        )
        control.send("formed")
        _run_program(spec)
        sys.stdout.flush()
        session.losses.check()
        meet(strategy)  # of a loss in what was no `fit`, and which the program has caught, only this tells
        if spec.export is not None and spec.is_leader:
            export(session.last_model, spec.export, Path(spec.exported))
        barrier(strategy)
    except BaseException as error:
        traceback.print_exception(error)
        code, record = classify(session.losses.first or error, spec, session.num_steps)
        if code is ExitCode.CLUSTER_FAULT:
            session.losses.remember(error)
        control.send("failure", record=to_wire(record))
        log.error("the program ended: %s: %s", record.reason, record.message.splitlines()[:1])
        return code
    return ExitCode.DONE


def _run_program(spec: RunSpec) -> None:
    """Runs it as `python script args` or `python -m module args` would; a recipe has no code to be put on the path."""
    program_dir = Path(spec.program_dir)
    os.chdir(program_dir)
    if spec.program.recipe is not None:
        running.run(spec.program.recipe, is_leader=spec.is_leader)
        return
    script = script_path(program_dir, spec.program)
    for entry in {str(script.parent) if script is not None else "", str(program_dir)} - {""}:
        sys.path.insert(0, entry)
    try:
        if script is None:
            assert spec.program.module is not None
            sys.argv = [spec.program.module, *spec.program.args]
            runpy.run_module(spec.program.module, run_name="__main__", alter_sys=True)
        else:
            sys.argv = [str(script), *spec.program.args]
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def _stop(*_: object) -> None:
    """The agent replaces this trainer, or ends. It waits for a snapshot that is being written before it asks."""
    sys.stdout.flush()
    os._exit(ExitCode.PREEMPTED)
