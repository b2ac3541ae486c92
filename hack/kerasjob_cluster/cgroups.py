"""The cgroup of each node, version 1 (a folder per controller) or 2 (one tree). Pods are below it.

Used by `node` (makes, kills) and `leftovers` (removes)."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from kerasjob_cluster import paths

MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "hugetlb",
               "net_cls", "net_prio", "perf_event", "unified")  # fmt: skip


def is_v2(mount: Path = MOUNT) -> bool:
    return (mount / "cgroup.controllers").exists()


def roots(mount: Path = MOUNT) -> list[Path]:
    """The hierarchies' roots. With version 1 `cpu` and `cpu,cpuacct` may be the same under two names, and a version 2
    tree without controllers may lie beside them (`unified`): runc makes its groups there, too."""
    if is_v2(mount):
        return [mount]
    found: dict[int, Path] = {}
    for name in CONTROLLERS:
        folder = mount / name
        if folder.is_dir():
            found.setdefault(folder.stat().st_dev, folder)
    return list(found.values())


def make(name: str) -> None:
    for root in roots():
        folder = root / name
        folder.mkdir(exist_ok=True)
        if is_v2():
            for parent in (root, folder):
                for controller in (root / "cgroup.controllers").read_text().split():
                    with suppress(OSError):  # one that cannot be delegated is not needed
                        (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        elif (folder / "cpuset.cpus").exists():  # empty sets admit no process
            for file in ("cpuset.cpus", "cpuset.mems"):
                (folder / file).write_text((root / file).read_text())


def found(prefix: str = paths.PREFIX + "node-") -> list[Path]:
    """Every cgroup of a node, of this cluster or one before."""
    return [folder for root in roots() for folder in root.glob(f"{prefix}*")]


def pids(name: str) -> set[int]:
    members: set[int] = set()
    for root in roots():
        for file in (root / name).rglob("cgroup.procs") if (root / name).exists() else ():
            with suppress(OSError):
                members |= {int(line) for line in file.read_text().split()}
    return members - {0}


def remove(name: str, seconds: float = 5) -> None:
    """Removes the tree. The kernel needs a moment after the last process is gone."""
    for root in roots():
        top = root / name
        deadline = time.monotonic() + seconds
        while top.exists():
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                with suppress(OSError):
                    folder.rmdir()
            with suppress(OSError):
                top.rmdir()
            if time.monotonic() > deadline:
                break
            if top.exists():
                time.sleep(0.05)
