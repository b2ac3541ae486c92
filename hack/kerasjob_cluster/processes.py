"""Starts the cluster's processes, finds them again, and ends them.

A process of ours is known in three ways: by its pid file (with its start time, since pids are used again), by MARK in
its environment (which shims inherit), and by the network namespace or cgroup it is in. Never by its name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kerasjob_cluster import paths
from kerasjob_cluster.progress import ClusterError

MARK = "KERASJOB_CLUSTER_OF"  # set to the checkout's state folder


def all_pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process began; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def alive(name: str) -> int | None:
    """The pid of the process that was started under this name, if it still runs."""
    try:
        record = json.loads((paths.PIDS / name).read_text())
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    return pid if start_time(pid) == record["started"] else None


def started() -> dict[str, int | None]:
    """Name and pid (None: dead) of every process that was started."""
    return {file.name: alive(file.name) for file in sorted(paths.PIDS.glob("*"))} if paths.PIDS.exists() else {}


def write_config(file: Path, text: str) -> Path:
    """Writes a file that a process reads, unless it is so already: a kube-proxy ends when its own is touched."""
    if not (file.exists() and file.read_text() == text):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return file


def log_of(name: str) -> Path:
    return paths.LOGS / f"{name}.log"


def in_namespace(namespace: str, command: Sequence[str | Path]) -> list[str]:
    """The command in a network namespace. (`ip netns exec` would remount /sys and hide the cgroups.)"""
    return ["nsenter", f"--net={paths.NETNS / namespace}", *(str(part) for part in command)]


def start(name: str, command: Sequence[str | Path], namespace: str | None, env: dict[str, str] | None = None) -> bool:
    """Starts a process that outlives us. False: it runs already."""
    if alive(name):
        return False
    paths.PIDS.mkdir(parents=True, exist_ok=True)
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    words = in_namespace(namespace, command) if namespace else [str(part) for part in command]
    environment = {**os.environ, **(env or {}), MARK: str(paths.STATE), "PATH": f"{paths.BIN}:{os.environ['PATH']}"}
    with log_of(name).open("ab") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", env=environment
        )
    process.returncode = 0  # Python would warn that we do not wait for it
    began = start_time(process.pid)
    if began is None:
        raise ClusterError(f"{name} ended at once; see {log_of(name)}")
    (paths.PIDS / name).write_text(json.dumps({"pid": process.pid, "started": began}))
    return True


def stop(name: str, seconds: float = 5) -> None:
    """SIGTERM, then SIGKILL."""
    pid = alive(name)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _wait_gone([pid], seconds)
        kill([pid])
    (paths.PIDS / name).unlink(missing_ok=True)


def kill(pids: Iterable[int], seconds: float = 10) -> None:
    """SIGKILL to all at once, then waits until they are gone."""
    victims = [pid for pid in set(pids) if pid != os.getpid()]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait_gone(victims, seconds)


def _wait_gone(pids: Iterable[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for pid in pids:
        while start_time(pid) is not None and time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # it may be our own child
            time.sleep(0.02)


def in_network_of(namespaces: Iterable[str]) -> set[int]:
    """Pids whose network namespace is one of these."""
    inodes = set()
    for namespace in namespaces:
        with suppress(OSError):
            inodes.add((paths.NETNS / namespace).stat().st_ino)
    found = set()
    for pid in all_pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").stat().st_ino in inodes:
                found.add(pid)
    return found


def marked() -> dict[int, str]:
    """Pids that carry MARK, and the state folder it names."""
    found = {}
    for pid in all_pids():
        with suppress(OSError):
            for item in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if item.startswith(MARK.encode() + b"="):
                    found[pid] = item.split(b"=", 1)[1].decode(errors="replace")
    return {pid: state for pid, state in found.items() if pid != os.getpid() and start_time(pid) is not None}
