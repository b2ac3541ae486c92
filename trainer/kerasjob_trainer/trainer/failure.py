"""Why a program ended: the exit code, and the record with the user's own file and line. Called by `main`."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

import tensorflow as tf

from kerasjob_api.constants import Reason
from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import FailureRecord
from kerasjob_trainer.runspec import RunSpec

_LOST_PEER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_LOST_PEER_WORDS = (
    "collective",
    "socket",
    "heartbeat",
    "coordination",
    "connection reset",
    "connection refused",
    "failed to connect",
    "preempted",
    "recvbuf",
)


class PeerLost(BaseException):
    """Another worker was lost; raised from TensorFlow's error. It is no error of the program, so that no
    `except Exception` of it may swallow this; it is run again from where it was."""


class Refused(BaseException):
    """We refuse to run the program, in words for the user. No `except Exception` of the program may swallow it."""


def classify(error: BaseException, spec: RunSpec, step: int) -> tuple[ExitCode, FailureRecord]:
    """Exit code and record of a program that ended by an exception."""
    if isinstance(error, Refused):
        return ExitCode.BAD_PROGRAM, FailureRecord(Reason.BAD_PROGRAM, str(error), worker=spec.slot, step=step)
    if spec.num_workers > 1 and (loss := _loss_behind(error)) is not None:
        message = f"{type(loss).__name__}: {_message(loss)}"
        return ExitCode.CLUSTER_FAULT, FailureRecord(Reason.CLUSTER_FAULT, message, worker=spec.slot, step=step)
    file, line = user_frame(error, spec)
    record = FailureRecord(
        Reason.USER_ERROR,
        _message(error),
        exception_type=type(error).__name__,
        file=file,
        line=line,
        worker=spec.slot,
        step=step,
    )
    return ExitCode.USER_ERROR, record


def lost_peer(error: BaseException) -> bool:
    """Whether the error is TensorFlow's way to say that a peer or the network is gone."""
    if isinstance(error, _LOST_PEER):
        return True
    text = str(error).lower()
    # Not InvalidArgument and the like: an operation that cannot work says "collective" as well.
    may_be = isinstance(error, (tf.errors.InternalError, tf.errors.UnknownError))
    return may_be and any(word in text for word in _LOST_PEER_WORDS)


def _loss_behind(error: BaseException | None) -> BaseException | None:
    """The loss of a peer that an error was raised from, or in the handling of; the error itself where it is one."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if lost_peer(error):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the program called sys.exit({error.code!r})"
    if isinstance(error, tf.errors.OpError):
        words = str(error.message)
        if "in the collective instance" in words:
            return (
                "the workers do not run the same program: something that all of them make or sum has another shape on"
                f" this one. Look for what is not the same on every machine. TensorFlow says: {words}"
            )
        return words
    return str(error) or repr(error)


def user_frame(error: BaseException, spec: RunSpec) -> tuple[str | None, int | None]:
    """File (relative to the program) and line of the last frame in the user's code; of a SyntaxError, what it names."""
    root = Path(spec.program_dir).resolve()
    if isinstance(error, SyntaxError) and error.filename:
        return _relative(error.filename, root) or error.filename, error.lineno
    script = Path(spec.program.script).resolve() if spec.program.script else None
    found: tuple[str | None, int | None] = (None, None)
    for name, line in _frames(error.__traceback__):
        if (relative := _relative(name, root)) is not None:
            found = relative, line
        elif script is not None and Path(name) == script:
            found = name, line
    return found


def _frames(trace: TracebackType | None) -> list[tuple[str, int | None]]:
    return [(frame.filename, frame.lineno) for frame in traceback.extract_tb(trace, limit=None)]


def _relative(name: str, root: Path) -> str | None:
    path = Path(name)
    if not path.is_absolute():
        path = root / path
        if not path.exists():
            return None
    try:
        return str(path.resolve().relative_to(root))
    except ValueError:
        return None
