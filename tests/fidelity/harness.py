"""Runs a row of the fidelity table in forked trainers: one plain process, or several replicas under our repairs.

The process that calls this has imported TensorFlow and made no tensor, as the warm process of a pod.
"""

import os
import pickle
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.trainer.harness import free_ports

from kerasjob_api.wire import ProgramConfig
from kerasjob_trainer.processes import die_with_parent
from kerasjob_trainer.runspec import RunSpec

DEADLINE_SECONDS = 90.0


@dataclass(frozen=True)
class Shape:
    """Workers and devices of each. `distributed=False`: plain Keras; `repaired=False`: TensorFlow's strategy alone."""

    workers: int = 1
    devices: int = 1
    distributed: bool = True
    repaired: bool = True
    floatx: str = "float64"

    def __str__(self) -> str:
        return f"{self.workers}x{self.devices}" if self.devices > 1 else str(self.workers)


PLAIN = Shape(distributed=False)


class RowFailed(Exception):
    """A process of a row ended badly: its traceback."""


def run(row: Callable[[Path], dict[str, Any]], shape: Shape, folder: Path) -> list[dict[str, Any]]:
    """The results of a row by rank. Each worker has a folder of its own; all share `folder`/shared."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shared").mkdir(parents=True)
    ports = free_ports(shape.workers)
    pids = {}
    for rank in range(shape.workers):
        (folder / str(rank)).mkdir()
        pids[_fork(row, shape, folder, rank, ports)] = rank
    _wait(pids, folder)
    results = []
    for rank in range(shape.workers):
        kind, value = pickle.loads((folder / str(rank) / "result").read_bytes())
        if kind == "error":
            raise RowFailed(f"rank {rank} of {shape}: {value}")
        results.append(value)
    return results


def _fork(row: Any, shape: Shape, folder: Path, rank: int, ports: list[int]) -> int:
    sys.stdout.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    out = folder / str(rank)
    try:
        die_with_parent(parent)
        log = os.open(out / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (
            os.fdopen(1, "w", buffering=1),
            os.fdopen(2, "w", buffering=1),
        )  # not the test's capture
        os.chdir(out)
        answer = "value", _inside(row, shape, rank, ports, folder / "shared")
    except BaseException:
        answer = "error", traceback.format_exc()
    try:
        sys.stdout.flush()
        (out / "part").write_bytes(pickle.dumps(answer))
        (out / "part").rename(out / "result")
    finally:
        os._exit(0)


def _inside(row: Any, shape: Shape, rank: int, ports: list[int], shared: Path) -> dict[str, Any]:
    import keras

    from kerasjob_trainer import log as logs
    from kerasjob_trainer import repairs
    from kerasjob_trainer.trainer import own_strategy
    from kerasjob_trainer.trainer.strategy import barrier, enter_scope, make_strategy

    logs.setup("row", rank, "trainer", 1)
    warnings.simplefilter("default")  # a warning is no error in a user's program, as it is in a test
    keras.config.set_floatx(shape.floatx)
    os.environ["KERASJOB_LOGICAL_CPUS"] = str(shape.devices)
    strategy = None
    if shape.distributed:
        hosts = tuple(f"127.0.0.1:{port}" for port in ports)
        strategy = make_strategy(RunSpec("row", rank, rank, 1, hosts, 7, ProgramConfig(), *[""] * 8))
    enter_scope(strategy)
    if shape.repaired:
        repairs.apply(strategy)
    if shape.distributed and shape.repaired:
        own_strategy.apply()
    keras.utils.set_random_seed(7)
    result = row(shared)
    barrier(strategy)
    return {name: _plain(value) for name, value in result.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bytes, type(None))):
        return value
    return np.asarray(value)


def _wait(pids: dict[int, int], folder: Path) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    waiting = dict(pids)
    try:
        while waiting:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid in waiting:
                rank = waiting.pop(pid)
                result = folder / str(rank) / "result"
                if not result.exists() or pickle.loads(result.read_bytes())[0] == "error":
                    break  # the others would wait for it for ever
            elif time.monotonic() > deadline:
                raise RowFailed(f"ranks {sorted(waiting.values())} hang\n{_logs(folder)}")
            else:
                signal.sigtimedwait([signal.SIGCHLD], 0.05)
    finally:
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for rank in pids.values():
        result = folder / str(rank) / "result"
        if not result.exists():
            errors = [pickle.loads(p.read_bytes())[1] for p in folder.glob("*/result")]
            failed = next((e for e in errors if isinstance(e, str)), None)
            raise RowFailed(failed or f"rank {rank} died\n{_logs(folder)}")


def _logs(folder: Path) -> str:
    return "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*/log")))


def largest_difference(expected: dict[str, Any], actual: dict[str, Any]) -> tuple[float, str]:
    """The largest relative difference of two results, and where it is. Text must be equal."""
    worst, where = 0.0, ""
    if expected.keys() != actual.keys():
        return float("inf"), f"keys {sorted(expected.keys() ^ actual.keys())}"
    for name, one in expected.items():
        other = actual[name]
        difference = _difference(one, other)
        if difference > worst:
            worst, where = difference, name
    return worst, where


def _difference(one: Any, other: Any) -> float:
    if isinstance(one, (str, bytes, type(None))):
        return 0.0 if one == other else float("inf")
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return float("inf")
    if one.dtype.kind not in "fc":
        return 0.0 if np.array_equal(one, other) else float("inf")
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(one)
    if not finite.any():
        return 0.0
    one, other = one[finite].astype("float64"), other[finite].astype("float64")
    # Relative to the size of the whole tensor: an element near zero has no digits of its own, nor has a bias whose
    # gradient is zero but for rounding.
    scale = max(float(np.max(np.abs(one))), 1e-6)
    return float(np.max(np.abs(one - other))) / scale
