"""What the user sees while a job runs: a progress bar on a terminal, plain lines elsewhere, the workers' output above.

Used by the runner. Output arrives from the threads that relay it; everything else from the event loop.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from kerasjob_api.wire import Progress as ProgressReport
from kerasjob_core.plan import Event

# Without a terminal: a line at each new epoch, and at least this often while something moves.
PLAIN_INTERVAL_SECONDS = 5.0


class Display:
    """Shows one job. Use it as a context manager."""

    def __init__(self, name: str, console: Console, all_logs: bool) -> None:
        self._name = name
        self._console = console
        self._all_logs = all_logs
        self._lines: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._last_epoch: tuple[int, int] | None = None
        self._last_words = ""
        self._last_time = 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(name, total=100, words="Pending")

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for slot, rest in self._lines.items():
                if rest:
                    self._line(slot, rest)
            self._lines.clear()
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line of our own."""
        self._console.print(Text(text), soft_wrap=True)

    def event(self, event: Event) -> None:
        """An event of the brain."""
        style = "yellow" if event.type == "Warning" else "dim"
        self._console.print(Text(f"{self._name}: {event.reason}: {event.message}", style=style), soft_wrap=True)

    def output(self, slot: int, chunk: bytes) -> None:
        """Standard output of a worker: the first one's (it leads the ring), or all with `--logs all`."""
        if slot != 0 and not self._all_logs:
            return
        with self._lock:
            *lines, rest = (self._lines.get(slot, b"") + chunk).split(b"\n")
            self._lines[slot] = rest
            for line in lines:
                self._line(slot, line)

    def progress(self, phase: str, progress: ProgressReport | None) -> None:
        """Where the job stands."""
        words = " ".join([phase, *_words(progress)])
        if self._bar is not None:
            self._bar.update(self._task, words=words, completed=(progress and progress.percent) or 0)
            return
        epoch = (progress.call, progress.epoch) if progress is not None else None
        now = time.monotonic()
        is_due = epoch != self._last_epoch or now - self._last_time >= PLAIN_INTERVAL_SECONDS
        if progress is not None and is_due and words != self._last_words:
            self.say(f"{self._name}: {words}")
            self._last_epoch, self._last_words, self._last_time = epoch, words, now

    def _line(self, slot: int, line: bytes) -> None:
        # What a terminal would show of a line that was written over: its last state.
        text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2].replace("\b", "")
        prefix = f"[{slot}] " if self._all_logs else ""
        self._console.print(Text(prefix) + Text.from_ansi(text), soft_wrap=True)


def _words(progress: ProgressReport | None) -> list[str]:
    if progress is None:
        return []
    words = [f"epoch {progress.epoch}/{progress.epochs}", f"step {progress.step}"]
    if progress.steps:
        words[1] += f"/{progress.steps}"
    loss = next((m.value for m in progress.metrics if m.name == "loss"), None)
    if loss is not None:
        words.append(f"loss {loss}")
    if progress.samples_per_second is not None:
        words.append(f"{progress.samples_per_second:.0f} samples/s")
    if progress.eta_seconds is not None:
        words.append(f"ETA {_duration(progress.eta_seconds)}")
    return words


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
