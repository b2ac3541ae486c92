"""Starts a worker that cannot outlive the runner: `python leash.py RUNNER_PID COMMAND …`. Run by file name, alone.

In a pod the agent is the first process and has nobody to follow; here the kernel is asked to kill it when the runner's
main thread ends, however that happens. The wish survives `exec`. Where the kernel cannot (not Linux), a runner that is
killed by SIGKILL leaves its workers behind. Imports nothing of ours: every worker waits for it.
"""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process to the runner and becomes the command."""
    runner, command = int(sys.argv[1]), sys.argv[2:]
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != runner:
        sys.exit("the runner has ended")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
