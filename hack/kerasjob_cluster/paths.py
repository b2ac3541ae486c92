"""Every name, address and folder of the test cluster, in one place.

What is on the machine (not in the checkout) has a fixed name, so that the leftovers of a cluster made from any folder
can be found by it. Imported by all other modules; imports none of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL_MODULES = ROOT / "hack" / "tools"

# In the checkout: what a user looks at.
STATE = ROOT / ".cluster"
BIN = STATE / "bin"
LOGS = STATE / "logs"
PIDS = STATE / "pids"
PKI = STATE / "pki"
CONFIG = STATE / "config"
DATA = STATE / "data"
KUBECONFIG = STATE / "kubeconfig"
ENDPOINTS = STATE / "endpoints.json"
AUDIT_LOG = STATE / "audit.log"

# On the machine. Sockets have short paths here (a socket's path has at most 107 characters, a checkout's may be long).
RUN = Path("/run/kerasjob-cluster")
DISKS = Path("/var/lib/kerasjob-cluster")
LOCK = RUN / "lock"
OWNER = RUN / "owner.json"
SYSCTLS = RUN / "sysctls.json"
NETNS = Path("/run/netns")

PREFIX = "kerasjob-"
CONTROL_PLANE = "kerasjob-cp"  # the network namespace
BRIDGE = "kj-br0"  # inside it
CNI_NETWORK = "kerasjob-pods"

ADDRESS = "10.199.0.1"  # the bridge: API server, DNS, S3, Prometheus and registry, as nodes and pods see them
API_PORT = 6443
S3_PORT = 7070
PROMETHEUS_PORT = 9090
REGISTRY_PORT = 5000
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
POD_CIDR = "10.244.0.0/16"
REGISTRY = f"{ADDRESS}:{REGISTRY_PORT}"

S3_ACCESS_KEY = "kerasjob"
S3_SECRET_KEY = "kerasjob-secret"
S3_REGION = "us-east-1"
BUCKET = "kerasjob"
SYSTEM_NAMESPACE = "kerasjob-system"

IMAGE_PREFIX = "localhost/kerasjob/"


def cache() -> Path:
    """Where built tools, wheels and images stay between clusters."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kerasjob"


@dataclass(frozen=True)
class Node:
    """A node's name gives everything else of it."""

    index: int

    @property
    def name(self) -> str:
        return f"{PREFIX}node-{self.index}"

    @property
    def namespace(self) -> str:
        return self.name

    @property
    def address(self) -> str:
        return f"10.199.0.{10 + self.index}"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def veth(self) -> str:
        """The bridge's end; the node's end is eth0."""
        return f"kj-node-{self.index}"

    @property
    def disk(self) -> Path:
        """Images and pod volumes: what a power loss leaves."""
        return DISKS / self.name

    @property
    def run(self) -> Path:
        """Sockets and container state: what a power loss clears."""
        return RUN / self.name

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cgroup(self) -> str:
        return self.name


NODES = (Node(1), Node(2))


def node_named(name: str) -> Node:
    """The node of this name. ValueError: there is none."""
    for node in NODES:
        if node.name == name:
            return node
    raise ValueError(f"no node {name!r}; there are {', '.join(node.name for node in NODES)}")
