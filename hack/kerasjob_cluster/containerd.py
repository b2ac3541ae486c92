"""containerd of a node: its configuration (for 1.x and 2.x), its client, and the sockets that its shims leave."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from kerasjob_cluster import paths, processes
from kerasjob_cluster.paths import IMAGE_PREFIX, Node
from kerasjob_cluster.progress import run, wait_until

SANDBOX = f"{IMAGE_PREFIX}pause:dev"

_COMMON = """root = "{disk}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[ttrpc]
  address = "{run}/containerd.sock.ttrpc"
"""
# Pod namespaces and runc's state lie below the node's folder, not in /run, so that a crash can be cleaned up.
_V1 = (
    "version = 2\n"
    + _COMMON
    + """[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{run}/containerd/runc"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""
)
_V2 = (
    "version = 3\n"
    + _COMMON
    + """[plugins.'io.containerd.cri.v1.images']
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{sandbox}"
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{registries}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = "{run}/containerd/runc"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni}"
"""
)


def write_config(node: Node) -> Path:
    """containerd's own file, the pods' network, and the mirror that `localhost/…` images come from."""
    folder = node.disk / "config"
    cni, registries = folder / "cni", folder / "registries"
    node.run.mkdir(parents=True, exist_ok=True)
    address = {"type": "host-local", "dataDir": str(node.run / "addresses"), "routes": [{"dst": "0.0.0.0/0"}]}
    # ptp routes every pod through the node, so that a Service's address works between pods of one node, too (a bridge
    # would need the module br_netfilter for that).
    plugin = {"type": "ptp", "ipMasq": False, "ipam": address | {"ranges": [[{"subnet": node.pod_cidr}]]}}
    network = {"cniVersion": "1.0.0", "name": paths.CNI_NETWORK, "plugins": [plugin]}
    processes.write_config(cni / "10-pods.conflist", json.dumps(network))
    mirror = f"http://{paths.REGISTRY}"
    hosts = f'server = "{mirror}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n'
    processes.write_config(registries / "localhost" / "hosts.toml", hosts)
    template = _V1 if major_version() == 1 else _V2
    content = template.format(disk=node.disk, run=node.run, sandbox=SANDBOX, registries=registries, cni=cni)
    return processes.write_config(folder / "containerd.toml", content)


def major_version() -> int:
    match = re.search(r"\bv?(\d+)\.\d+\.\d+", run(["containerd", "--version"]).stdout)
    return int(match[1]) if match else 2


def ctr(node: Node, *arguments: str) -> list[str]:
    return ["ctr", "--address", str(node.containerd_socket), "--namespace", "k8s.io", *arguments]


def start(node: Node, process: str) -> None:
    """Starts containerd and waits until it answers."""
    processes.start(process, ["containerd", "-c", write_config(node), "-l", "info"], node.namespace)
    wait_until(
        lambda: run(ctr(node, "version"), check=False).returncode == 0,
        30,
        f"containerd of {node.name} answers",
        processes.log_of(process),
    )


def record(node: Node) -> Path:
    return node.disk / "images.json"


def images(node: Node) -> dict[str, str]:
    """What was pulled: name and digest."""
    return dict(json.loads(record(node).read_text())) if record(node).exists() else {}


def pull(node: Node, image: str, digest: str) -> bool:
    """Brings an image from the registry to the node. False: it has it in this version."""
    have = images(node)
    if have.get(image) == digest:
        return False
    registries = node.disk / "config" / "registries"
    command = ctr(node, "images", "pull", "--hosts-dir", str(registries), f"{IMAGE_PREFIX}{image}:dev")
    # ctr itself is what fetches: it must be where the node is.
    run(["nsenter", f"--net={paths.NETNS / node.namespace}", *command])
    record(node).write_text(json.dumps(have | {image: digest}))
    return True


def shim_sockets(node: Node) -> Iterator[Path]:
    """The sockets of the node's shims, which lie in the machine's /run/containerd/s."""
    for file in (node.run / "containerd").glob("io.containerd.runtime.v2.task/k8s.io/*/address"):
        address = file.read_text().removeprefix("unix://")
        if address.startswith("/run/containerd/s/"):
            yield Path(address)
