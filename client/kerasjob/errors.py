"""What the client refuses to do, in the user's words. Raised everywhere here, turned into an exit code by `cli`.

KerasJobError
├── InvalidInput    a file or an argument is wrong; `faults` holds everything that is, at once
├── SpecChanged     the job has begun with another spec
└── StateInUse      another process runs this job in this state directory
"""

from __future__ import annotations

from collections.abc import Sequence


class KerasJobError(Exception):
    """Something that the user can put right."""


class InvalidInput(KerasJobError):
    """What was given cannot be run."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {fault}" for fault in faults))
        self.source = source
        self.faults = tuple(faults)


class SpecChanged(KerasJobError):
    """An unfinished job was begun with another spec."""

    def __init__(self, name: str, changes: Sequence[str]) -> None:
        super().__init__(
            f"job {name!r} has begun with another spec and has not ended:\n"
            + "\n".join(f"  {change}" for change in changes)
            + "\nput these back to go on with it, or begin anew with --fresh (what it saved stays under its uid)"
        )
        self.changes = tuple(changes)


class StateInUse(KerasJobError):
    """The job is being run already."""
