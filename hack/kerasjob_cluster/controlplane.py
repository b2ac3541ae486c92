"""etcd, API server, controller-manager and scheduler, in the control plane's namespace."""

from __future__ import annotations

from pathlib import Path

import yaml

from kerasjob_cluster import paths, pki, processes
from kerasjob_cluster.paths import ADDRESS, API_PORT, BIN, CONFIG, CONTROL_PLANE, KUBECONFIG, PKI, SERVICE_CIDR
from kerasjob_cluster.progress import run, wait_until

ETCD = "http://127.0.0.1:2379"  # the namespace's own loopback
ETCD_PEER = "http://127.0.0.1:2380"

# What the operator asked of the API server, for the tests that compare it with its Role.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{paths.SYSTEM_NAMESPACE}"]},
        {"level": "None"},
    ],
}


def start_api_server() -> None:
    """etcd and the API server; returns before they are ready."""
    processes.start(
        "etcd",
        [
            BIN / "etcd",
            f"--data-dir={paths.DATA / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={ETCD_PEER}",
            f"--initial-advertise-peer-urls={ETCD_PEER}",
            f"--initial-cluster=default={ETCD_PEER}",
            "--unsafe-no-fsync",  # a test cluster's data need not survive the machine
            "--log-level=warn",
            "--auto-compaction-retention=5m",
        ],
        CONTROL_PLANE,
    )
    policy = processes.write_config(CONFIG / "audit-policy.yaml", yaml.safe_dump(AUDIT_POLICY))
    processes.start(
        "kube-apiserver",
        [
            BIN / "kube-apiserver",
            f"--etcd-servers={ETCD}",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={PKI}/apiserver.crt",
            f"--tls-private-key-file={PKI}/apiserver.key",
            f"--client-ca-file={PKI}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={PKI}/sa.pub",
            f"--service-account-signing-key-file={PKI}/sa.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
            f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={PKI}/front-proxy-client.crt",
            f"--proxy-client-key-file={PKI}/front-proxy-client.key",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={paths.AUDIT_LOG}",
            "--profiling=false",
        ],
        CONTROL_PLANE,
    )


def wait_api_server() -> None:
    """Through the relay: what the host sees is what must work."""
    wait_until(
        lambda: kubectl("get", "--raw", "/readyz", check=False) == "ok",
        90,
        "the API server is ready",
        processes.log_of("kube-apiserver"),
    )


def start_controllers(scheduler: bool = True) -> None:
    """Only when the API server is ready: the controller-manager ends where RBAC's defaults are not there yet."""
    processes.start(
        "kube-controller-manager",
        [
            BIN / "kube-controller-manager",
            *_credentials("kube-controller-manager"),
            "--bind-address=127.0.0.1",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={PKI}/sa.key",
            f"--root-ca-file={PKI}/ca.crt",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
            "--allocate-node-cidrs=false",  # each node's pods have a fixed subnet
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--leader-elect=false",
            "--node-monitor-grace-period=20s",  # 50 s by default: tests of lost nodes would wait for it
        ],
        CONTROL_PLANE,
    )
    if scheduler:
        processes.start(
            "kube-scheduler",
            [
                BIN / "kube-scheduler",
                *_credentials("kube-scheduler"),
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
            ],
            CONTROL_PLANE,
        )
    wait_until(
        lambda: kubectl("get", "serviceaccount", "default", "-n", "default", "-o", "name", check=False) != "",
        60,
        "the controllers work (there is a default service account)",
        processes.log_of("kube-controller-manager"),
    )


def _credentials(client: str) -> list[str]:
    file = pki.kubeconfig(client)
    return [f"--kubeconfig={file}", f"--authentication-kubeconfig={file}", f"--authorization-kubeconfig={file}"]


def kubectl(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
    """kubectl as the cluster's administrator, through the relay."""
    command: list[str | Path] = [BIN / "kubectl", f"--kubeconfig={KUBECONFIG}", *arguments]
    return run(command, check=check, stdin=stdin, timeout=600).stdout.strip()
