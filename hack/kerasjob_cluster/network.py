"""Network namespaces: one for the control plane with the bridge, one for each node, veths between.

The host's own network is not touched: no interface, route or firewall rule of ours is in it."""

from __future__ import annotations

from kerasjob_cluster import paths
from kerasjob_cluster.paths import BRIDGE, CONTROL_PLANE, Node
from kerasjob_cluster.processes import in_namespace
from kerasjob_cluster.progress import run


def _in(namespace: str, *command: str, check: bool = True) -> str:
    return run(in_namespace(namespace, command), check=check).stdout


def _exists(namespace: str) -> bool:
    return (paths.NETNS / namespace).exists()


def make_control_plane() -> None:
    """The control plane's namespace and its bridge. Does nothing where they are."""
    if not _exists(CONTROL_PLANE):
        run(["ip", "netns", "add", CONTROL_PLANE])
    _in(CONTROL_PLANE, "ip", "link", "set", "lo", "up")
    if BRIDGE not in _in(CONTROL_PLANE, "ip", "-o", "link"):
        _in(CONTROL_PLANE, "ip", "link", "add", BRIDGE, "type", "bridge")
        _in(CONTROL_PLANE, "ip", "addr", "add", f"{paths.ADDRESS}/24", "dev", BRIDGE)
        _in(CONTROL_PLANE, "ip", "link", "set", BRIDGE, "up")
        _in(CONTROL_PLANE, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")


def make_node(node: Node) -> None:
    """The node's namespace, its cable to the bridge, and routes to its pods and to those of its peers."""
    if not _exists(node.namespace):
        run(["ip", "netns", "add", node.namespace])
    if "eth0" not in _in(node.namespace, "ip", "-o", "link"):
        # Made inside the control plane's namespace, its peer put straight into the node's.
        _in(CONTROL_PLANE, "ip", "link", "add", node.veth, "type", "veth", "peer", "name", "eth0", "netns",
            node.namespace)  # fmt: skip
        _in(CONTROL_PLANE, "ip", "link", "set", node.veth, "master", BRIDGE, "up")
        _in(node.namespace, "ip", "link", "set", "lo", "up")
        _in(node.namespace, "ip", "addr", "add", f"{node.address}/24", "dev", "eth0")
        _in(node.namespace, "ip", "link", "set", "eth0", "up")
        _in(node.namespace, "ip", "route", "add", "default", "via", paths.ADDRESS)
        _in(node.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
    _in(CONTROL_PLANE, "ip", "route", "replace", node.pod_cidr, "via", node.address)
    for peer in paths.NODES:
        if peer != node:
            _in(node.namespace, "ip", "route", "replace", peer.pod_cidr, "via", peer.address)


def cut(node: Node) -> None:
    """Pulls the cable: the node's processes go on, nothing gets in or out."""
    _in(CONTROL_PLANE, "ip", "link", "set", node.veth, "down")


def heal(node: Node) -> None:
    _in(CONTROL_PLANE, "ip", "link", "set", node.veth, "up")
    _in(CONTROL_PLANE, "ip", "route", "replace", node.pod_cidr, "via", node.address)


def remove(namespace: str) -> None:
    """Removes a namespace; veths, bridge and routes in it go with it."""
    if _exists(namespace):
        run(["ip", "netns", "del", namespace])


def remove_node(node: Node) -> None:
    remove(node.namespace)
    if _exists(CONTROL_PLANE):  # gone with its peer, but at the kernel's leisure
        _in(CONTROL_PLANE, "ip", "link", "del", node.veth, check=False)


def found() -> list[str]:
    """Namespaces of ours, of this cluster or one before."""
    return sorted(entry.name for entry in paths.NETNS.glob(f"{paths.PREFIX}*")) if paths.NETNS.exists() else []
