"""The control plane of the benchmark: real etcd (in memory), API server, controller-manager and scheduler; nodes and
kubelets are kwok's, and addresses of pods are on this machine's loopback, where the agents answer."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.integration.control_plane import ROOT, ControlPlane

from kerasjob_cluster import tools
from operator_load.jobs import NAMESPACE

NODES = 24
PODS_PER_NODE = 1000
USER = "system:serviceaccount:kerasjob-system:kerasjob-operator"
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
}
READY = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
      - {key: .status.phase, operator: In, values: [Pending]}
  next:
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
      containerStatuses:
      {{ range .spec.containers }}
      - {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: true, restartCount: 0,
         state: {running: {startedAt: {{ Now | Quote }}}}}
      {{ end }}
      {{ $ips := PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
      podIP: {{ index $ips 0 | Quote }}
      podIPs: [{ip: {{ index $ips 0 | Quote }}}]
      phase: Running
"""
COMPLETE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-complete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
      - {key: .status.phase, operator: In, values: [Running]}
  delay: {durationMilliseconds: %d}
  next:
    statusTemplate: |
      conditions:
      - {type: Ready, status: "False", lastTransitionTime: {{ Now | Quote }}}
      containerStatuses:
      {{ range .spec.containers }}
      - {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: false, restartCount: 0,
         state: {terminated: {exitCode: 0, reason: Completed, finishedAt: {{ Now | Quote }}}}}
      {{ end }}
      phase: Succeeded
"""
DELETE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
      - {key: .metadata.deletionTimestamp, operator: Exists}
  next: {delete: true}
"""
NODE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-initialize}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
      - {key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: NotIn, values: ["True"]}
  next:
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {{ Now | Quote }},
         lastTransitionTime: {{ Now | Quote }}}
      allocatable: {cpu: 1k, memory: 1Ti, pods: %d}
      capacity: {cpu: 1k, memory: 1Ti, pods: %d}
      phase: Running
"""


class LoadPlane(ControlPlane):
    """A control plane with a scheduler and kwok. `complete_ms`: how long pods run; 0: for ever."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, AUDIT)

    def start_all(self) -> None:
        tools.ensure({"kube-scheduler", "kwok"})
        self.start()
        self.run("kube-scheduler", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0")
        self.kubectl("apply", "-k", str(ROOT / "manifests"))
        self.kubectl("wait", "crd/kerasjobs.kerasjob.dev", "--for=condition=Established", "--timeout=30s")
        self.kubectl("create", "namespace", NAMESPACE)
        self.kubectl("wait", "--for=create", "serviceaccount/default", "-n", NAMESPACE, "--timeout=30s")
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes()}))

    def run_kwok(self, complete_seconds: float) -> None:
        """(Re)starts the kubelets."""
        if "kwok" in self._processes:
            self.kill("kwok")
        stages = [READY, DELETE, NODE % (PODS_PER_NODE, PODS_PER_NODE)]
        stages += [COMPLETE % (complete_seconds * 1000)] if complete_seconds else []
        file = self.directory / "stages.yaml"
        file.write_text("---".join(stages))
        self.run(
            "kwok", f"--config={file}", f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes=true",
            "--node-lease-duration-seconds=0", "--server-address=127.0.0.1:0", "--cidr=127.16.0.0/16",
        )  # fmt: skip
        self.kubectl("wait", "nodes", "--all", "--for=condition=Ready", "--timeout=60s")
        # The controller that does this where nodes come and go is not run here.
        self.kubectl("taint", "nodes", "--all", "node.kubernetes.io/not-ready-", check=False)

    def clear(self) -> None:
        """Deletes all that a run has made."""
        everything = "kerasjobs,pods,services,configmaps,secrets,networkpolicies.networking.k8s.io,events"
        for kind in everything.split(","):
            options = ("--grace-period=0", "--force") if kind == "pods" else ()
            self.kubectl("delete", kind, "--all", "-n", NAMESPACE, "--wait=false", *options, seconds=900)
        self.kubectl("wait", "pods", "--all", "-n", NAMESPACE, "--for=delete", "--timeout=600s", check=False)

    def audited(self) -> Counter[tuple[str, str]]:
        """(verb, resource) of what the operator asked for since the log was emptied."""
        found: Counter[tuple[str, str]] = Counter()
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            ref = event.get("objectRef") or {}
            resource = "/".join(part for part in (ref.get("resource"), ref.get("subresource")) if part)
            found[event["verb"], resource] += 1
        return found


def nodes() -> list[dict]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"fake-{number}", "labels": {"kubernetes.io/hostname": f"fake-{number}"}},
            "spec": {"podCIDR": f"127.{16 + number}.0.0/16", "podCIDRs": [f"127.{16 + number}.0.0/16"]},
        }
        for number in range(NODES)
    ]


@contextlib.contextmanager
def running() -> Iterator[LoadPlane]:
    """On a folder in memory: what is measured is not this machine's disk."""
    directory = Path(tempfile.mkdtemp(prefix="kerasjob-load-", dir="/dev/shm"))
    plane = LoadPlane(directory)
    try:
        plane.start_all()
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(directory)
