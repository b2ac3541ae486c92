"""A node: its own network namespace and cgroup, with containerd, kubelet and kube-proxy.

It is started, crashed, removed and described here; its cable is pulled in `network`. Nodes share the kernel and the
file system and nothing else: a crash kills every process of one at once."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from kerasjob_cluster import cgroups, containerd, network, paths, pki, processes, seed
from kerasjob_cluster.controlplane import kubectl
from kerasjob_cluster.paths import BIN, PKI, Node
from kerasjob_cluster.progress import run, wait_until

COMPONENTS = ("kubelet", "kube-proxy", "containerd")


def process_name(component: str, node: Node) -> str:
    return f"{component}-{node.index}"


def is_up(node: Node) -> bool:
    return processes.alive(process_name("containerd", node)) is not None


def start_runtime(node: Node) -> None:
    """Network, cgroup and containerd. What runs already is left alone."""
    if not any(processes.alive(process_name(component, node)) for component in COMPONENTS):
        power_off(node)  # a containerd that was killed has left mounts and shims
    network.make_node(node)
    cgroups.make(node.cgroup)
    seed.plant(node)
    containerd.start(node, process_name("containerd", node))


def start_agents(node: Node) -> datetime | None:
    """Kubelet and kube-proxy, once the sandbox image is there. When the kubelet was started; None: it ran already."""
    now = datetime.now(UTC)
    folder = node.disk / "config"
    resolv = processes.write_config(folder / "resolv.conf", f"search .\nnameserver {paths.ADDRESS}\n")
    kubelet = processes.write_config(folder / "kubelet.yaml", yaml.safe_dump(kubelet_config(node, resolv)))
    began = processes.start(
        process_name("kubelet", node),
        [BIN / "kubelet", f"--config={kubelet}", f"--kubeconfig={pki.kubeconfig(node.name)}",
         f"--root-dir={node.disk / 'kubelet'}", f"--cert-dir={node.disk / 'kubelet-pki'}",
         f"--hostname-override={node.name}", f"--node-ip={node.address}", "--v=2"],
        node.namespace,
    )  # fmt: skip
    proxy = processes.write_config(folder / "kube-proxy.yaml", yaml.safe_dump(proxy_config(node)))
    processes.start(
        process_name("kube-proxy", node),
        [BIN / "kube-proxy", f"--config={proxy}", f"--hostname-override={node.name}", "--v=1"],
        node.namespace,
    )
    return now if began else None


def wait_ready(node: Node, since: datetime | None) -> None:
    """Waits until the node is Ready and, after a start, until its kubelet was heard since: the API server believes a
    node that lost its power for a while longer."""

    def ready() -> bool:
        if kubectl("get", "node", node.name, "--ignore-not-found", "-o", _READY, check=False) != "True":
            return False
        lease = ["get", "lease", node.name, "-n", "kube-node-lease", "-o", "jsonpath={.spec.renewTime}"]
        renewed = kubectl(*lease, check=False) if since else ""
        return since is None or (renewed != "" and datetime.fromisoformat(renewed) >= since)

    wait_until(ready, 120, f"{node.name} is Ready", processes.log_of(process_name("kubelet", node)))


_READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'


def kubelet_config(node: Node, resolv: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "5s"},
            "x509": {"clientCAFile": str(PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "podLogsDir": str(node.disk / "pod-logs"),
        "resolvConf": str(resolv),
        "clusterDNS": [paths.ADDRESS],
        "clusterDomain": "cluster.local",
        # The machine's disk is not the node's own: no image is thrown away because others filled it.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 16,
        "serializeImagePulls": False,
    }


def proxy_config(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
        "clusterCIDR": paths.POD_CIDR,
        "hostnameOverride": node.name,
        "bindAddress": node.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Conntrack's limits belong to the host's namespace and cannot be set from here.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def power_off(node: Node) -> None:
    """Power loss: all dies at once, nobody is told, the disk stays. Then what a reboot would clear is cleared."""
    processes.kill(processes.in_network_of([node.namespace]) | cgroups.pids(node.cgroup))
    for component in COMPONENTS:
        (paths.PIDS / process_name(component, node)).unlink(missing_ok=True)
    sockets = list(containerd.shim_sockets(node))
    unmount(lambda point: _is_below(point, node.disk) or _is_below(point, node.run))
    for socket in sockets:
        socket.unlink(missing_ok=True)
    shutil.rmtree(node.run, ignore_errors=True)
    network.remove_node(node)
    cgroups.remove(node.cgroup)


def remove(node: Node) -> None:
    """The node and its disk."""
    power_off(node)
    shutil.rmtree(node.disk, ignore_errors=True)


def _is_below(point: Path, folder: Path) -> bool:
    return point == folder or folder in point.parents


def mounts(file: Path = Path("/proc/self/mounts")) -> Iterator[Path]:
    """All mount points, the youngest first."""
    lines = file.read_text(errors="surrogateescape").splitlines()
    for line in reversed(lines):
        yield Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[1]))


def unmount(wanted: Callable[[Path], bool]) -> None:
    for point in mounts():
        if wanted(point):
            run(["umount", "-l", point], check=False)


def set_gpus(node: Node, count: int) -> None:
    """Says that a node has GPUs: enough for scheduling, quota and status, not for computing."""
    gpus = {"nvidia.com/gpu": str(count)}
    patch = json.dumps({"status": {"capacity": gpus, "allocatable": gpus}})
    kubectl("patch", "node", node.name, "--subresource=status", "--type=merge", "-p", patch)


def clear_log_links(folder: Path = Path("/var/log/containers")) -> None:
    """The kubelet links every container's log there, whatever podLogsDir says."""
    for link in folder.glob("*") if folder.is_dir() else ():
        with suppress(OSError):
            if link.is_symlink() and _is_below(link.readlink(), paths.DISKS):
                link.unlink()
