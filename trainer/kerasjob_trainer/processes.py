"""Linux's ways with processes that Python has no call for. Used by agent, warm process and trainer."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when the thread that started it ends; ends it if that happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def reap_orphans(child: int) -> None:
    """For the first process of a container: reaps those whose parents are gone, but not our own child."""
    while True:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None or found.si_pid == child:
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def num_oom_kills() -> int:
    """How often the kernel killed a process of this container for memory; 0 where it does not say."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control")):
        try:
            for line in path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        except (OSError, ValueError):
            continue
    return 0


def is_pending(pid: int, number: int) -> bool:
    """Whether a process has been sent a signal that it has not taken yet."""
    try:
        lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    except OSError:
        return False
    masks = [int(line[1], 16) for line in lines if line[0] in ("SigPnd:", "ShdPnd:")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def resident_bytes(pid: int | None) -> float:
    """Memory that a process holds; 0 where there is none."""
    try:
        return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0.0
