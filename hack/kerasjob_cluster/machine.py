"""What the machine must have, and who may use it: Linux, root, Debian's packages, some kernel settings, the lock.

One cluster a machine. A command holds a file lock while it works; `owner.json` says whose the cluster is, also when no
command works."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kerasjob_cluster import paths, processes
from kerasjob_cluster.progress import ClusterError, run, say, step

INSTEAD = (
    "use any cluster instead (kind, minikube, your own): build the two images of the Dockerfile and apply manifests/"
)

# A program, and Debian's package of it.
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
}
CONTROL_PLANE_PACKAGES = {"openssl", "iproute2", "util-linux", "procps"}

# Kernel settings that we raise, and those that a kubelet sets for the whole machine: put back by `down`.
_RAISED = {"fs/inotify/max_user_instances": 1024, "fs/inotify/max_user_watches": 262144}
_SET_BY_KUBELET = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
                   "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")  # fmt: skip


def require(system: str | None = None, uid: int | None = None) -> None:
    """ClusterError in one sentence on a machine that cannot hold the cluster."""
    system = platform.system() if system is None else system
    if system != "Linux":
        raise ClusterError(f"The test cluster needs Linux and this is {system}; {INSTEAD}.", 2)
    if (os.geteuid() if uid is None else uid) != 0:
        raise ClusterError(f"The test cluster needs root (network namespaces, mounts); {INSTEAD}.", 2)


def missing_packages(wanted: set[str] | None = None) -> list[str]:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    return sorted(
        package
        for program, package in PACKAGES.items()
        if (wanted is None or package in wanted) and not (shutil.which(program) or Path(program).is_file())
    )


def install_packages(wanted: set[str] | None = None) -> None:
    """Installs what is missing with apt-get. ClusterError where there is no apt-get."""
    missing = missing_packages(wanted)
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"Install these first (names of Debian's packages): {', '.join(missing)}; or {INSTEAD}.", 2)
    say(f"installing {', '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installed {len(missing)} packages"), _no_services_started():
        run(["apt-get", "update", "-q"], env=env)
        run(["apt-get", "install", "-qy", "--no-install-recommends", *missing], env=env)


@contextmanager
def _no_services_started(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Debian starts what it installs: a containerd and a Prometheus on all interfaces, which nobody asked for."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def set_kernel() -> None:
    """Raises the limits that several containerds need; notes before what `restore_kernel` puts back."""
    if not paths.SYSCTLS.exists():
        values = {}
        for key in (*_RAISED, *_SET_BY_KUBELET):
            with suppress(OSError):
                values[key] = Path("/proc/sys", key).read_text().strip()
        paths.SYSCTLS.write_text(json.dumps(values))
    for key, least in _RAISED.items():
        file = Path("/proc/sys", key)
        if int(file.read_text()) < least:
            file.write_text(str(least))


def restore_kernel() -> None:
    if paths.SYSCTLS.exists():
        for key, value in json.loads(paths.SYSCTLS.read_text()).items():
            with suppress(OSError):
                Path("/proc/sys", key).write_text(value)
        paths.SYSCTLS.unlink()


@contextmanager
def locked() -> Iterator[None]:
    """One command at a time. ClusterError naming the one that works."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with paths.LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ClusterError(f"Another command works on the cluster: {file.read().strip()}.") from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}, {paths.ROOT}")
        file.flush()
        yield


def owner() -> str | None:
    """The state folder whose cluster has live processes on this machine, from here or elsewhere."""
    with suppress(OSError, ValueError, KeyError):
        state = str(json.loads(paths.OWNER.read_text())["state"])
        if Path(state).is_dir() and state in processes.marked().values():
            return state
    return None


def claim() -> bool:
    """Makes the machine's cluster ours. True: ours runs already. ClusterError: somebody else's does."""
    holder = owner()
    if holder not in (None, str(paths.STATE)):
        raise ClusterError(f"A cluster of {Path(str(holder)).parent} runs on this machine: take it down there first.")
    return holder is not None


def write_owner() -> None:
    paths.OWNER.write_text(json.dumps({"state": str(paths.STATE)}))
