"""Plays kubelet and agent for a worker pod: its status is patched, its agent answers on a loopback address.

A real kubelet and real agents are in tests/cluster; here faults are made at exact moments.
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kerasjob_api.constants import AGENT_PORT


class FakeAgent:
    """An agent that takes every ring and says what it is told to say."""

    def __init__(self, host: str, slot: int, incarnation: int, granted: Callable[[], int]) -> None:
        self.host = host
        self.rings: list[dict] = []
        self.granted_late: list[int] = []  # revisions that came before they were in status
        self.tokens: set[str] = set()
        self.report: dict = {
            "protocol": 1, "slot": slot, "incarnation": incarnation, "revision": 0, "state": "ready",
            "problem": None, "trainerExit": None, "progress": None, "checkpoint": None,
        }  # fmt: skip
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer()

            def do_PUT(self):
                ring = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                agent.rings.append(ring)
                if granted() < ring["revision"]:
                    agent.granted_late.append(ring["revision"])
                agent.report = agent.report | {"revision": ring["revision"], "state": "training", "trainerExit": None}
                self._answer()

            def _answer(self):
                agent.tokens.add(self.headers.get("Authorization", ""))
                body = json.dumps(agent.report).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer((host, AGENT_PORT), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Kubelet:
    """Patches pod statuses as a kubelet would."""

    def __init__(self, plane) -> None:
        self._plane = plane
        self._agents: list[FakeAgent] = []

    def run(self, pod: str, host: str) -> FakeAgent:
        """The pod runs and is ready; its agent answers at `host`."""
        job, slot, incarnation = pod.rsplit("-", 2)
        agent = FakeAgent(host, int(slot), int(incarnation), lambda: self._granted(job))
        self._agents.append(agent)
        ready = {"type": "Ready", "status": "True"}
        running = {"name": "trainer", "state": {"running": {}}, "ready": True, "image": "i", "imageID": "i",
                   "restartCount": 0}  # fmt: skip
        self.patch(pod, phase="Running", podIP=host, podIPs=[{"ip": host}], conditions=[ready],
                   containerStatuses=[running])  # fmt: skip
        return agent

    def bind(self, pod: str) -> None:
        """Gives the pod to a node, so that its deletion waits for a kubelet."""
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
                   "target": {"kind": "Node", "name": "node-1"}}  # fmt: skip
        path = f"/api/v1/namespaces/default/pods/{pod}/binding"
        self._plane.kubectl("create", f"--raw={path}", "-f", "-", stdin=json.dumps(binding))

    def end(self, pod: str, code: int, message: str = "", reason: str = "Error") -> None:
        """The container has ended."""
        terminated = {"exitCode": code, "reason": "Completed" if code == 0 else reason, "message": message}
        self.patch(
            pod,
            phase="Succeeded" if code == 0 else "Failed",
            conditions=[{"type": "Ready", "status": "False"}],
            containerStatuses=[{"name": "trainer", "state": {"terminated": terminated}, "ready": False, "image": "i",
                                "imageID": "i", "restartCount": 0}],
        )  # fmt: skip

    def wait_in(self, pod: str, reason: str, message: str) -> None:
        """The container cannot start, and the kubelet says why."""
        state = {"waiting": {"reason": reason, "message": message}}
        container = {"name": "trainer", "state": state, "ready": False, "image": "i", "imageID": "", "restartCount": 0}
        self.patch(pod, phase="Pending", containerStatuses=[container])

    def cannot_mount(self, pod: str, message: str) -> None:
        """The pod has a node, which cannot mount a volume of it: only Events say so."""
        self.bind(pod)
        self.wait_in(pod, "ContainerCreating", "")
        uid = self._plane.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}").stdout
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{pod}.mount"}, "type": "Warning",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": pod, "uid": uid},
            "reason": "FailedMount", "message": message, "count": 5, "firstTimestamp": now, "lastTimestamp": now,
            "source": {"component": "kubelet"},
        }  # fmt: skip
        self._plane.kubectl("apply", "-f", "-", stdin=json.dumps(event))

    def patch(self, pod: str, **status) -> None:
        self._plane.kubectl(
            "patch", "pod", pod, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status})
        )

    def _granted(self, job: str) -> int:
        """The ring revision in the job's status."""
        path = "jsonpath={.status.ring.revision}"
        return int(self._plane.kubectl("get", "kj", job, "-o", path, check=False).stdout or 0)

    def close(self) -> None:
        while self._agents:
            agent = self._agents.pop()
            agent.close()
            assert agent.granted_late == []
