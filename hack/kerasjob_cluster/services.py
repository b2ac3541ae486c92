"""What the cluster has beside Kubernetes: DNS, an S3 server, Prometheus, an image registry, and the relay to the host.

All listen on the bridge inside the control plane's namespace, so that nodes and pods reach them at one address. S3 and
Prometheus also have names: `s3.kerasjob-system.svc.cluster.local:7070`, `prometheus.kerasjob-system…:9090`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import yaml

from kerasjob_cluster import paths, pki, processes
from kerasjob_cluster.controlplane import kubectl
from kerasjob_cluster.paths import (
    ADDRESS,
    API_PORT,
    BIN,
    CONFIG,
    CONTROL_PLANE,
    DATA,
    PROMETHEUS_PORT,
    S3_PORT,
    SYSTEM_NAMESPACE,
)
from kerasjob_cluster.processes import in_namespace, log_of
from kerasjob_cluster.progress import run, wait_until

# On 127.0.0.1 of the host, unless somebody has them.
PREFERRED_PORTS = {"api": 16443, "s3": 17070, "prometheus": 19090}
TARGETS = {"api": API_PORT, "s3": S3_PORT, "prometheus": PROMETHEUS_PORT}

COREFILE = """.:53 {{
    bind {address}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
"""
REGISTRY = {"version": 0.1, "log": {"level": "warn", "accesslog": {"disabled": True}}}


def prometheus_config() -> dict[str, Any]:
    """Scrapes pods that ask for it by the usual annotations."""
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io_"
    relabel: list[dict[str, Any]] = [
        {"source_labels": [f"{annotation}scrape"], "regex": "true", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Pending|Succeeded|Failed", "action": "drop"},
        {
            "source_labels": ["__meta_kubernetes_pod_ip", f"{annotation}port"],
            "separator": ":",
            "regex": r"(.+:\d+)",  # without the annotation: the declared port
            "target_label": "__address__",
        },
        {"source_labels": [f"{annotation}path"], "regex": "(.+)", "target_label": "__metrics_path__"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
        # As the chart's PodMonitor has them.
        {"source_labels": ["__meta_kubernetes_pod_label_kerasjob_dev_job"], "target_label": "kerasjob_dev_job"},
        {"source_labels": ["__meta_kubernetes_pod_label_kerasjob_dev_slot"], "target_label": "kerasjob_dev_slot"},
    ]
    discovery = {"role": "pod", "kubeconfig_file": str(pki.kubeconfig("prometheus"))}
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s"},
        # honor_labels: series of jobs say which namespace they are of.
        "scrape_configs": [
            {
                "job_name": "pods",
                "honor_labels": True,
                "kubernetes_sd_configs": [discovery],
                "relabel_configs": relabel,
            }
        ],
    }


def start_dns() -> None:
    file = CONFIG / "Corefile"
    processes.write_config(file, COREFILE.format(address=ADDRESS, kubeconfig=pki.kubeconfig("coredns")))
    processes.start("coredns", [BIN / "coredns", "-conf", file], CONTROL_PLANE)


def start_s3() -> None:
    """versitygw: folders are buckets. Metadata is in extended attributes, or beside where the file system has none.
    More users than the first one can be made (`versitygw admin create-user`)."""
    data, beside, users = DATA / "s3", DATA / "s3-metadata", DATA / "s3-users"
    data.mkdir(parents=True, exist_ok=True)
    users.mkdir(exist_ok=True)
    sidecar: list[str] = []
    if not _has_attributes(data):
        beside.mkdir(exist_ok=True)
        sidecar = ["--sidecar", str(beside)]
    keys = {"ROOT_ACCESS_KEY": paths.S3_ACCESS_KEY, "ROOT_SECRET_KEY": paths.S3_SECRET_KEY}
    options = ["--port", f"{ADDRESS}:{S3_PORT}", "--region", paths.S3_REGION, "--quiet", "--iam-dir", str(users)]
    processes.start("versitygw", [BIN / "versitygw", *options, "posix", *sidecar, data], CONTROL_PLANE, keys)


def _has_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.kerasjob", b"1")
    except OSError:
        return False
    return True


def start_prometheus() -> None:
    file = CONFIG / "prometheus.yaml"
    processes.write_config(file, yaml.safe_dump(prometheus_config(), sort_keys=False))
    options = [
        f"--config.file={file}",
        f"--storage.tsdb.path={DATA / 'prometheus'}",
        f"--web.listen-address={ADDRESS}:{PROMETHEUS_PORT}",
        "--storage.tsdb.retention.time=1d",
    ]
    processes.start("prometheus", [BIN / "prometheus", *options], CONTROL_PLANE)


def start_registry() -> None:
    """Its images stay in the cache: what was pushed once is there in the next cluster."""
    data = paths.cache() / "registry"
    data.mkdir(parents=True, exist_ok=True)
    storage = {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}}
    file = CONFIG / "registry.yaml"
    content = REGISTRY | {"storage": storage, "http": {"addr": paths.REGISTRY}}
    processes.write_config(file, yaml.safe_dump(content))
    processes.start("registry", [BIN / "registry", "serve", file], CONTROL_PLANE, {"OTEL_TRACES_EXPORTER": "none"})


def wait_for(name: str, port: int) -> None:
    """Waits until a service accepts connections on the bridge."""
    probe = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
    command = in_namespace(CONTROL_PLANE, [sys.executable, "-c", probe, ADDRESS, str(port)])
    wait_until(lambda: run(command, check=False).returncode == 0, 30, f"{name} listens", log_of(name))


def start_relay() -> None:
    """The relay, on the ports it had before if they are free; then the kubeconfig and endpoints.json that name them."""
    before = _ports_before()
    if not (processes.alive("relay") and before):
        ports = choose_ports(before or PREFERRED_PORTS)
        routes = [f"{port}={ADDRESS}:{TARGETS[name]}" for name, port in ports.items()]
        script = Path(__file__).with_name("relay.py")
        processes.stop("relay")
        processes.start("relay", [sys.executable, script, paths.NETNS / CONTROL_PLANE, *routes], None)
        before = ports
    pki.write_kubeconfig(paths.KUBECONFIG, "admin", f"https://127.0.0.1:{before['api']}")
    processes.write_config(paths.ENDPOINTS, json.dumps(endpoints(before), indent=1) + "\n")


def endpoints(ports: dict[str, int]) -> dict[str, str]:
    """What tests and users read: where the host finds everything."""
    return {
        "api": f"https://127.0.0.1:{ports['api']}",
        "s3": f"http://127.0.0.1:{ports['s3']}",
        "prometheus": f"http://127.0.0.1:{ports['prometheus']}",
        "s3AccessKey": paths.S3_ACCESS_KEY,
        "s3SecretKey": paths.S3_SECRET_KEY,
    }


def _ports_before() -> dict[str, int] | None:
    try:
        written = json.loads(paths.ENDPOINTS.read_text())
        return {name: int(written[name].rsplit(":", 1)[1]) for name in PREFERRED_PORTS}
    except (OSError, ValueError, KeyError):
        return None


def choose_ports(preferred: dict[str, int]) -> dict[str, int]:
    """The preferred ports, or free ones where somebody has them."""
    chosen, held = {}, []
    for name, port in preferred.items():
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.append(listener)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        chosen[name] = int(listener.getsockname()[1])
    for listener in held:
        listener.close()
    return chosen


def publish() -> None:
    """The namespace of the system, and names in it for S3 and Prometheus."""
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
        *_named("s3", S3_PORT),
        *_named("prometheus", PROMETHEUS_PORT),
    ]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def _named(name: str, port: int) -> list[dict[str, Any]]:
    """A Service without a selector, and the slice that says where it is."""
    metadata = {"name": name, "namespace": SYSTEM_NAMESPACE}
    ports = [{"name": "http", "port": port, "protocol": "TCP"}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
    ]
