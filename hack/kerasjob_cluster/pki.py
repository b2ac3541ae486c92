"""Certificates and kubeconfigs, made with openssl. Does nothing for what is there.

Keys are ECDSA P-256 (RSA for service account tokens); certificates last ten years, the cluster an afternoon."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from kerasjob_cluster import paths, processes
from kerasjob_cluster.paths import PKI
from kerasjob_cluster.progress import run

DAYS = "3650"
SERVER_NAMES = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local"]  # fmt: skip
SERVER_ADDRESSES = ["127.0.0.1", paths.ADDRESS, paths.API_SERVICE_IP]

# Name of the file: subject. All are clients of the API server or of kubelets.
CLIENTS = {
    "admin": "/O=system:masters/CN=kerasjob-admin",
    "apiserver-kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "coredns": "/O=system:masters/CN=coredns",
    "prometheus": "/O=system:masters/CN=prometheus",
    **{node.name: f"/O=system:nodes/CN=system:node:{node.name}" for node in paths.NODES},
}


def make() -> None:
    """All certificates, and a kubeconfig for each client inside the cluster."""
    PKI.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.CONFIG.mkdir(parents=True, exist_ok=True)
    for authority in ("ca", "front-proxy-ca"):
        if not (PKI / f"{authority}.crt").exists():
            _key(authority)
            key, certificate, subject = PKI / f"{authority}.key", PKI / f"{authority}.crt", f"/CN=kerasjob-{authority}"
            run(["openssl", "req", "-x509", "-new", "-key", key, "-subj", subject, "-days", DAYS, "-out", certificate])
    if not (PKI / "sa.pub").exists():
        run(["openssl", "genrsa", "-out", PKI / "sa.key", "2048"])
        run(["openssl", "rsa", "-in", PKI / "sa.key", "-pubout", "-out", PKI / "sa.pub"])
    names = ",".join([f"DNS:{name}" for name in SERVER_NAMES] + [f"IP:{address}" for address in SERVER_ADDRESSES])
    _certificate("apiserver", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth\nsubjectAltName={names}")
    _certificate("front-proxy-client", "/CN=front-proxy-client", "extendedKeyUsage=clientAuth", "front-proxy-ca")
    for name, subject in CLIENTS.items():
        _certificate(name, subject, "extendedKeyUsage=clientAuth")
        write_kubeconfig(kubeconfig(name), name, f"https://{paths.ADDRESS}:{paths.API_PORT}")


def kubeconfig(client: str) -> Path:
    return paths.CONFIG / f"{client}.kubeconfig"


def write_kubeconfig(file: Path, client: str, server: str) -> None:
    def data(name: str) -> str:
        return base64.b64encode((PKI / name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{client}.crt"), "client-key-data": data(f"{client}.key")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kerasjob", "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": "kerasjob", "context": {"cluster": "kerasjob", "user": client}}],
        "current-context": "kerasjob",
    }
    file.touch(mode=0o600)
    processes.write_config(file, yaml.safe_dump(content, sort_keys=False))


def _key(name: str) -> None:
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", PKI / f"{name}.key"])


def _certificate(name: str, subject: str, extensions: str, authority: str = "ca") -> None:
    if (PKI / f"{name}.crt").exists():
        return
    _key(name)
    request, options = PKI / f"{name}.csr", PKI / f"{name}.ext"
    options.write_text(f"keyUsage=digitalSignature\n{extensions}\n")
    run(["openssl", "req", "-new", "-key", PKI / f"{name}.key", "-subj", subject, "-out", request])
    run(["openssl", "x509", "-req", "-in", request, "-CA", PKI / f"{authority}.crt", "-CAkey", PKI / f"{authority}.key",
         "-CAcreateserial", "-days", DAYS, "-extfile", options, "-out", PKI / f"{name}.crt"])  # fmt: skip
    request.unlink()
    options.unlink()
