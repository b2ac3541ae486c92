"""Exit codes of a worker's agent and trainer, and what follows from each. See docs/contracts.md."""

from __future__ import annotations

from enum import IntEnum

from kerasjob_api.constants import Reason


class ExitCode(IntEnum):
    """What a worker process says by ending."""

    DONE = 0
    USER_ERROR = 10
    BAD_PROGRAM = 11
    BAD_DATA = 12
    CLUSTER_FAULT = 20
    STALLED = 21
    STORE_FAULT = 22
    PREEMPTED = 30

    @property
    def is_permanent(self) -> bool:
        """True where another try would end the same way."""
        return self in (ExitCode.USER_ERROR, ExitCode.BAD_PROGRAM, ExitCode.BAD_DATA)


REASONS: dict[int, Reason] = {
    ExitCode.USER_ERROR: Reason.USER_ERROR,
    ExitCode.BAD_PROGRAM: Reason.BAD_PROGRAM,
    ExitCode.BAD_DATA: Reason.BAD_DATA,
    ExitCode.CLUSTER_FAULT: Reason.CLUSTER_FAULT,
    ExitCode.STALLED: Reason.STALLED,
    ExitCode.STORE_FAULT: Reason.STORAGE_ERROR,
    ExitCode.PREEMPTED: Reason.PREEMPTED,
}


def is_permanent(code: int) -> bool:
    """True for the codes after which a job fails without another try.

    Any small code that is not ours (a program that calls `sys.exit(3)`) is the program's own and permanent; codes of
    128 and above are signals, and those are never the program's word.
    """
    try:
        return ExitCode(code).is_permanent
    except ValueError:
        return 0 < code < 128
