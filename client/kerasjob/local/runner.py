"""Runs one job on this machine from first sight to its end: the loop around the brain. Called by `cli` and the SDK.

Ctrl-C (SIGINT), SIGTERM and SIGHUP ask the workers to save and stop; a second one kills them. Nothing is lost: the same
call goes on from the last checkpoint, under the same uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from kerasjob.errors import InvalidInput, SpecChanged
from kerasjob.files import LoadedJob
from kerasjob.local.body import LocalCluster
from kerasjob.local.code import program_faults, take_code
from kerasjob.local.display import Display
from kerasjob.local.outcome import failure_lines, newest_checkpoint
from kerasjob.local.process import AGENT_COMMAND
from kerasjob.local.state import JobDir, StoredJob
from kerasjob.local.uris import UriMap, missing_data, moved_paths
from kerasjob_api.constants import ConditionType
from kerasjob_api.status import KerasJobStatus
from kerasjob_core.cluster import ClusterError
from kerasjob_core.conditions import is_finished, is_true
from kerasjob_core.reconciler import reconcile
from kerasjob_core.settings import Settings

# A status is a small file here, not a request to an API server.
SETTINGS = Settings(progress_interval_seconds=2.0)
# Starting is waited for; a job that trains is looked at less often, the processor is the trainer's.
POLL_STARTING_SECONDS = 0.1
POLL_RUNNING_SECONDS = 0.5
# More passes in a row than any honest sequence of decisions needs.
PASSES_MAX = 100
SUCCEEDED, FAILED, INVALID, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `exit_code`: 0 succeeded, 1 failed, 2 invalid, 130 interrupted."""

    exit_code: int
    uid: str
    status: KerasJobStatus


def run_local(
    job: LoadedJob,
    *,
    state: str | Path = ".kerasjob",
    maps: Sequence[str] = (),
    use_s3: bool = False,
    fresh: bool = False,
    logs: Literal["leader", "all"] = "leader",
    console: Console | None = None,
    command: Sequence[str] = AGENT_COMMAND,
    again: str = "the same command",
) -> RunResult:
    """Runs a job here until it ends or is interrupted. Call it from the main thread.

    maps: `s3://bucket/prefix/=DIR`, directories that take the place of S3. use_s3: the rest is the real S3.
    fresh: begin anew, with a new uid. command: what starts an agent. again: how the user goes on after an interruption.
    Raises InvalidInput, SpecChanged, StateInUse.
    """
    console = console or Console()
    directory = JobDir(Path(state), job.name)
    uris = UriMap.parse(tuple(maps), directory.state, use_s3)
    with directory.lock():
        old = None if fresh else directory.read()
        if old is not None and old.has_ended:
            return _has_ended(old, directory, console)
        if old is not None and (changes := old.changes_to(job.spec)):
            raise SpecChanged(job.name, changes)
        faults = program_faults(job) + missing_data(job.spec, uris) + _missing_parts(command)
        if faults:
            raise InvalidInput(str(job.source), faults)
        if fresh:
            directory.put_aside()
        stored = old or directory.create(job, time.time())
        changed_code = take_code(job, directory.code)
        with Display(job.name, console, logs == "all") as display:
            _tell_before(display, stored, changed_code, resumes=old is not None)
            cluster = LocalCluster(
                stored, directory, uris, command=command, on_event=display.event, on_output=display.output
            )
            try:
                interrupted = asyncio.run(_run(cluster, display))
            finally:
                cluster.close()
        return _tell_after(cluster, console, interrupted, again)


class _Interrupts:
    """Counts the user's wishes to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.asked = asyncio.Event()

    def ask(self) -> None:
        self.count += 1
        self.asked.set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # What is ignored (SIGHUP under nohup) stays ignored.
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        signals = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
        for number in signals:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def _run(cluster: LocalCluster, display: Display) -> bool:
    """Drives the job; answers whether the user stopped it."""
    interrupts = _Interrupts()
    with interrupts.watched():
        while interrupts.count == 0:
            await cluster.poll()
            await settle(cluster, time.time())
            status = cluster.stored.status
            report = cluster.report(0)
            display.progress(status.phase, report.progress if report is not None else None)
            if is_finished(status) and cluster.live == 0:
                return False
            if is_true(status, ConditionType.INVALID):
                return False
            runs = is_true(status, ConditionType.READY)
            with contextlib.suppress(TimeoutError):
                pause = POLL_RUNNING_SECONDS if runs else POLL_STARTING_SECONDS
                await asyncio.wait_for(interrupts.asked.wait(), pause)
        await _stop(cluster, display, interrupts)
    return not is_finished(cluster.stored.status)


async def settle(cluster: LocalCluster, now: float) -> None:
    """Passes over the job until there is nothing more to do now."""
    ref = cluster.job.ref
    for _ in range(PASSES_MAX):
        try:
            plan = await reconcile(cluster, ref.namespace, ref.name, now, SETTINGS)
        except ClusterError:
            return  # the next poll tries again
        if plan is None or (plan.status is None and not plan.actions):
            return
    raise AssertionError(f"the brain does not come to rest over job {ref.name}")


async def _stop(cluster: LocalCluster, display: Display, interrupts: _Interrupts) -> None:
    grace = cluster.stored.spec.termination_grace_period_seconds
    if cluster.live:
        display.say(f"stopping: the workers save and end, within {grace} s; Ctrl-C again kills them")
    cluster.stop_all(grace)
    while cluster.live:
        if interrupts.count > 1:
            cluster.stop_all(0)
        await cluster.poll()
        await asyncio.sleep(POLL_STARTING_SECONDS)


def _missing_parts(command: Sequence[str]) -> list[str]:
    if tuple(command) != AGENT_COMMAND:
        return []
    return [
        f"{module} is not installed here; pip install 'kerasjob[trainer,tensorflow]'"
        for module in ("kerasjob_trainer", "tensorflow", "keras")
        if importlib.util.find_spec(module) is None
    ]


def _has_ended(job: StoredJob, directory: JobDir, console: Console) -> RunResult:
    succeeded = is_true(job.status, ConditionType.COMPLETE)
    lines = [f"job {job.name} has succeeded already"] if succeeded else failure_lines(job, directory)
    for line in [*lines, "nothing was started; --fresh runs it anew (what it saved stays under its uid)"]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return RunResult(SUCCEEDED if succeeded else FAILED, job.uid, job.status)


def _tell_before(display: Display, stored: StoredJob, changed: list[str], *, resumes: bool) -> None:
    if resumes:
        display.say(f"job {stored.name} goes on (uid {stored.uid})")
    if changed:
        display.say(f"warning: the code has changed since the job was run last: {', '.join(changed)}")
    # What a recipe reads follows the data.
    for path, where in moved_paths(stored.spec) if stored.spec.program.recipe is None else ():
        display.say(
            f"warning: data for {path} cannot be put there on this machine; each worker has it in {where} of its own"
            f" directory. keras.datasets finds it; a program that reads {path} itself does not"
        )
    if any("valueFrom" in entry for entry in stored.spec.env) or stored.spec.env_from:
        display.say("warning: spec.env[].valueFrom and spec.envFrom mean nothing without a cluster; set them yourself")


def _tell_after(cluster: LocalCluster, console: Console, interrupted: bool, again: str) -> RunResult:
    stored = cluster.stored
    status = stored.status
    if interrupted:
        code, lines = INTERRUPTED, [f"job {stored.name} was interrupted; {_last_saved(cluster)}", f"to go on: {again}"]
    elif is_true(status, ConditionType.COMPLETE):
        code, lines = SUCCEEDED, [f"job {stored.name} succeeded{_last_words(status)}"]
    elif is_true(status, ConditionType.FAILED):
        code, lines = FAILED, failure_lines(stored, cluster.directory)
    else:
        invalid = status.condition(ConditionType.INVALID)
        code, lines = INVALID, [f"job {stored.name} is invalid: {invalid.message if invalid is not None else ''}"]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    return RunResult(code, stored.uid, status)


def _last_words(status: KerasJobStatus) -> str:
    shown = status.display
    words = f": epoch {shown.epoch}, step {shown.step}, loss {shown.loss}" if status.progress is not None else ""
    return words + (f"; the model is in {status.export.uri}" if status.export is not None else "")


def _last_saved(cluster: LocalCluster) -> str:
    stored = cluster.stored
    checkpoint = stored.spec.checkpoint
    store = cluster.uris.state / "checkpoints" if checkpoint is None else cluster.uris.path(checkpoint.uri)
    if store is None:
        return f"its checkpoints are in {checkpoint.uri if checkpoint is not None else ''}"
    saved = newest_checkpoint(store, stored.uid)
    if saved is None:
        return "no checkpoint was saved yet, so it will begin at the start"
    return f"last checkpoint: {saved}"
