"""`status.progress` and `status.checkpoint`, as the leader says them, written every so often."""

from __future__ import annotations

from kerasjob_api.constants import ConditionType
from kerasjob_api.status import CheckpointStatus, Display, MetricValue, ProgressStatus
from kerasjob_api.wire import CheckpointRef, Progress
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft
from kerasjob_core.observed import Worker
from kerasjob_core.times import from_rfc3339, to_rfc3339

# Of metrics in the status: how many, and the characters of a name or a value.
METRICS_MAX, METRIC_MAX = 32, 64


def report(draft: Draft) -> None:
    """Takes over the leader's progress: at its end, else at most once per interval."""
    leader = draft.leader
    if leader is None:
        return
    progress, checkpoint = _said_by(leader)
    if progress is None:
        return
    new, saved = _status(progress), _saved(checkpoint) or draft.status.checkpoint
    old = draft.status.progress
    if old is not None and _ignoring_time(old) == _ignoring_time(new) and saved == draft.status.checkpoint:
        return
    interval = draft.settings.progress_interval_seconds
    if old is not None and not leader.has_ended:
        if not is_true(draft.status, ConditionType.READY):
            return
        wait = from_rfc3339(old.updated_at) + interval - draft.now
        if wait > 0:
            draft.look_again(wait)
            return
    new = new.model_copy(update={"updated_at": to_rfc3339(draft.now)})
    draft.set(progress=new, checkpoint=saved, display=_display(draft, new))


def _said_by(leader: Worker) -> tuple[Progress | None, CheckpointRef | None]:
    """The leader's last word: its termination message, or its last report."""
    record = leader.exit.record if leader.exit is not None else None
    report_ = leader.report
    progress = (record.progress if record is not None else None) or (report_.progress if report_ is not None else None)
    checkpoint = (record.checkpoint if record is not None else None) or (
        report_.checkpoint if report_ is not None else None
    )
    return progress, checkpoint


def _saved(checkpoint: CheckpointRef | None) -> CheckpointStatus | None:
    if checkpoint is None:
        return None
    return CheckpointStatus(uri=checkpoint.uri, step=checkpoint.step, saved_at=checkpoint.saved_at)


def _status(progress: Progress) -> ProgressStatus:
    return ProgressStatus(
        call=progress.call,
        epoch=progress.epoch,
        epochs=progress.epochs,
        step=progress.step,
        steps=progress.steps,
        total_step=progress.total_step,
        percent=None if progress.percent is None else f"{progress.percent:.1f}",
        eta_seconds=None if progress.eta_seconds is None else round(progress.eta_seconds),
        train_seconds=round(progress.train_seconds),
        samples_per_second=None if progress.samples_per_second is None else f"{progress.samples_per_second:.1f}",
        metrics=tuple(
            MetricValue(name=m.name[:METRIC_MAX], value=m.value[:METRIC_MAX]) for m in progress.metrics[:METRICS_MAX]
        ),
        updated_at=progress.updated_at,
    )


def _ignoring_time(progress: ProgressStatus) -> ProgressStatus:
    return progress.model_copy(update={"updated_at": "", "eta_seconds": None, "samples_per_second": None})


def _display(draft: Draft, progress: ProgressStatus) -> Display:
    loss = next((m.value for m in progress.metrics if m.name == "loss"), "")
    steps = f"{progress.step}/{progress.steps}" if progress.steps else str(progress.step)
    return draft.status.display.model_copy(
        update={
            "epoch": f"{progress.epoch}/{progress.epochs}",
            "step": steps,
            "loss": loss,
            "eta": "" if progress.eta_seconds is None else _duration(progress.eta_seconds),
        }
    )


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{secs:02}s" if minutes else f"{secs}s"
