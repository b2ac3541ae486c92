"""Condition CheckpointsLate: the store does not take what the leader saves. Training goes on meanwhile."""

from __future__ import annotations

from kerasjob_api.constants import ConditionType, Reason, WorkerState
from kerasjob_core.conditions import is_true
from kerasjob_core.draft import Draft


def report_late(draft: Draft) -> None:
    """Sets the condition while the leader says so, in its words; takes it back once it trains without a problem."""
    leader = draft.leader
    if leader is None or leader.report is None or leader.report.state != WorkerState.TRAINING:
        return
    was, problem = is_true(draft.status, ConditionType.CHECKPOINTS_LATE), leader.report.problem
    if problem is not None and not was:  # its words change with every try: the first ones are enough
        saved = draft.status.checkpoint
        newest = "none is saved yet" if saved is None else f"the newest is of step {saved.step}, {saved.saved_at}"
        message = f"worker {leader.slot} ({leader.name}): {problem.message}; {newest}; training goes on"
        draft.condition(ConditionType.CHECKPOINTS_LATE, True, Reason.STORAGE_ERROR, message)
        draft.event("Warning", Reason.STORAGE_ERROR, message)
    elif problem is None and was:
        draft.condition(ConditionType.CHECKPOINTS_LATE, False, Reason.SAVED_AGAIN, "checkpoints are saved again")
        draft.event("Normal", Reason.SAVED_AGAIN, "checkpoints are saved again")
