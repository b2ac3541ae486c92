"""Clears everything that a cluster leaves on the machine, found by name; and says what is still there.

Used by `up` (a cluster whose processes were all killed, also one of another folder) and by `down`."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from kerasjob_cluster import cgroups, machine, network, node, paths, processes
from kerasjob_cluster.paths import Node

_CNI_RESULTS = Path("/var/lib/cni/results")
_OURS = (paths.RUN, paths.DISKS)


def _mounts() -> list[Path]:
    return [
        point
        for point in node.mounts()
        if any(folder in point.parents for folder in (*_OURS, paths.cache() / "buildah"))
        or (point.parent == paths.NETNS and point.name.startswith(paths.PREFIX))
    ]


def _pids() -> set[int]:
    members = processes.in_network_of(network.found()) | set(processes.marked())
    for folder in cgroups.found():
        members |= cgroups.pids(folder.name)
    return members


def _nodes() -> list[Node]:
    """Nodes that left anything, of whatever number."""
    names = {entry.name for folder in _OURS if folder.exists() for entry in folder.iterdir()}
    names |= set(network.found()) | {folder.name for folder in cgroups.found()}
    numbers = {name.removeprefix(f"{paths.PREFIX}node-") for name in names}
    return [Node(int(number)) for number in sorted(numbers) if number.isdigit()]


def clear() -> None:
    """Ends all processes, then removes mounts, namespaces, cgroups, sockets, links and disks. Settings go back."""
    processes.kill(_pids())
    for leftover in _nodes():
        node.remove(leftover)
    for namespace in network.found():
        network.remove(namespace)
    node.clear_log_links()
    for result in _CNI_RESULTS.glob(f"{paths.CNI_NETWORK}-*"):
        result.unlink(missing_ok=True)
    for folder in (_CNI_RESULTS, _CNI_RESULTS.parent, Path("/run/containerd/s"), Path("/run/containerd"), paths.DISKS):
        with suppress(OSError):  # not empty: somebody else uses it
            folder.rmdir()
    machine.restore_kernel()
    paths.OWNER.unlink(missing_ok=True)


def clear_state() -> None:
    """What the checkout's .cluster has of a cluster that is gone; logs and links to the tools stay."""
    for folder in (paths.PIDS, paths.PKI, paths.CONFIG, paths.DATA):
        shutil.rmtree(folder, ignore_errors=True)
    for file in (paths.KUBECONFIG, paths.ENDPOINTS):
        file.unlink(missing_ok=True)


def clear_logs() -> None:
    """The logs of the cluster before, which tests of this one must not read."""
    shutil.rmtree(paths.LOGS, ignore_errors=True)
    paths.AUDIT_LOG.unlink(missing_ok=True)


def remaining() -> list[str]:
    """What is still on the machine, a line each; empty when all is gone."""
    left = [f"process {pid}" for pid in sorted(_pids())]
    left += [f"mount {point}" for point in _mounts()]
    left += [f"network namespace {name}" for name in network.found()]
    left += [f"cgroup {folder}" for folder in cgroups.found()]
    left += [f"folder {entry}" for entry in (paths.DISKS, *(Node(i).run for i in (1, 2))) if entry.exists()]
    left += [f"CNI result {file}" for file in _CNI_RESULTS.glob(f"{paths.CNI_NETWORK}-*")]
    links = Path("/var/log/containers")
    left += [
        f"link {link}"
        for link in (links.glob("*") if links.is_dir() else ())
        if link.is_symlink() and paths.DISKS in link.readlink().parents
    ]
    interfaces = Path("/sys/class/net")
    left += [f"interface {entry.name}" for entry in interfaces.iterdir() if entry.name.startswith("kj-")]
    return left
