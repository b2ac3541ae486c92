"""A real API server on loopback: etcd, kube-apiserver, kube-controller-manager (for garbage collection). No nodes.

The operator runs against it with its own service account's token, as shipped in manifests/.
"""

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import yaml

from kerasjob_cluster import paths, tools

ROOT = Path(__file__).parents[2]
ADMIN_TOKEN = "admin-of-the-tests"
BINARIES = {"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}
# Gangs, as an administrator turns them on.
GANG_GATE = "--feature-gates=GenericWorkload=true"
GANG_API = (GANG_GATE, "--runtime-config=scheduling.k8s.io/v1beta1=true")
AUDIT_POLICY = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ControlPlane:
    """Started servers and their folder."""

    def __init__(
        self, directory: Path, audit_policy: dict = AUDIT_POLICY, api_flags: tuple[str, ...] = GANG_API
    ) -> None:
        self.directory = directory
        self._audit_policy = audit_policy
        self._api_flags = api_flags
        self.port, self._etcd = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.kubeconfig = directory / "kubeconfig"
        self.audit_log = directory / "audit.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        tools.ensure(BINARIES)
        etcd, peer = self._etcd, free_port()
        self._files()
        self.run(
            "etcd", f"--data-dir={self.directory}/etcd", f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync", "--log-level=error",
        )  # fmt: skip
        self.serve(*self._api_flags)
        self.run(
            "kube-controller-manager", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0",
            f"--service-account-private-key-file={self.directory}/sa.key", "--use-service-account-credentials=false",
            "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,"
            "resourcequota-controller,podgroup-protection-controller", GANG_GATE,
        )  # fmt: skip
        self.kubectl("wait", "--for=create", "serviceaccount/default", "-n", "default", "--timeout=30s")

    def serve(self, *flags: str) -> None:
        """Starts the API server."""
        self.run(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{self._etcd}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--secure-port={self.port}",
            f"--cert-dir={self.directory}/certs", f"--token-auth-file={self.directory}/tokens.csv",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.directory}/sa.key",
            f"--service-account-signing-key-file={self.directory}/sa.key",
            f"--audit-log-path={self.audit_log}", f"--audit-policy-file={self.directory}/audit.yaml", *flags,
        )  # fmt: skip
        self._until_ready()

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """A server dies."""
        self._processes[name].kill()
        self._processes[name].wait()

    def start_again(self, name: str) -> None:
        """It is started as it was."""
        self.run(*(str(argument) for argument in self._processes[name].args))
        self._until_ready()

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, seconds: float = 90
    ) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            [paths.BIN / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
        if check and run.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {run.stdout}{run.stderr}")
        return run

    def operator_kubeconfig(self, namespace: str = "kerasjob-system") -> Path:
        """Credentials of an operator's service account and nothing else."""
        token = self.kubectl("create", "token", "kerasjob-operator", "-n", namespace).stdout.strip()
        file = self.directory / f"{namespace}.kubeconfig"
        file.write_text(json.dumps(self._config(token)))
        return file

    def _config(self, token: str) -> dict:
        certificate = base64.b64encode((self.directory / "certs" / "apiserver.crt").read_bytes()).decode()
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority-data": certificate}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }

    def _files(self) -> None:
        (self.directory / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
        (self.directory / "audit.yaml").write_text(yaml.safe_dump(self._audit_policy))
        subprocess.run(
            ["openssl", "genrsa", "-out", self.directory / "sa.key", "2048"], check=True, capture_output=True
        )

    def run(self, name: str, *arguments: str) -> None:
        """Starts a server that ends with the others."""
        program = Path(name).name
        with (self.directory / f"{program}.log").open("ab") as log:
            command = [str(paths.BIN / program), *arguments]
            self._processes[program] = subprocess.Popen(command, stdout=log, stderr=log)

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            certificate = self.directory / "certs" / "apiserver.crt"
            if certificate.exists() and not self.kubeconfig.exists():
                self.kubeconfig.write_text(json.dumps(self._config(ADMIN_TOKEN)))
            if self.kubeconfig.exists() and self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok":
                return
            time.sleep(0.2)  # a server that does not listen yet can only be asked again
        raise AssertionError((self.directory / "kube-apiserver.log").read_text()[-3000:])


class Operator:
    """The operator as a process of its own, with its service account's rights."""

    def __init__(self, plane: ControlPlane, namespace: str = "kerasjob-system", **environment: str) -> None:
        self.plane = plane
        self.port = free_port()
        self.log = plane.directory / "operator.log"
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KERASJOB_")},
            "KUBECONFIG": str(plane.operator_kubeconfig(namespace)),
            "KERASJOB_PORT": str(self.port),
            "KERASJOB_POLL_INTERVAL_SECONDS": "0.2",
            "KERASJOB_PROGRESS_INTERVAL_SECONDS": "1",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 30) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kerasjob_operator"], env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            with contextlib.suppress(OSError):
                if self.get("/readyz") == "ok":
                    return
            time.sleep(0.1)  # as above
        raise AssertionError(self.log.read_text()[-3000:])

    def stop(self) -> int:
        """Ends it as a kubelet does; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=10)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
            return response.read().decode()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[ControlPlane]:
    plane = ControlPlane(directory)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
