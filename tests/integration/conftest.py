"""One control plane for all integration tests, with the operator as shipped."""

import json
import threading
from collections.abc import Callable

import pytest
import yaml
from tests.integration.control_plane import ROOT, ControlPlane, Operator, running
from tests.integration.fake_worker import Kubelet


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    with running(tmp_path_factory.mktemp("control-plane")) as plane:
        plane.kubectl("apply", "-k", str(ROOT / "manifests"))
        plane.kubectl("wait", "crd/kerasjobs.kerasjob.dev", "--for=condition=Established", "--timeout=30s")
        # A fresh API server answers 429 for a new resource until its watch cache is there.
        plane.kubectl("wait", "--for=create", "kerasjobs.kerasjob.dev/none", "--timeout=0s", check=False)
        yield plane


@pytest.fixture(scope="session")
def operator(plane):
    operator = Operator(plane)
    operator.start()
    yield operator
    operator.kill()
    assert "rights are not enough" not in operator.log.read_text()


@pytest.fixture
def kubelet(plane):
    kubelet = Kubelet(plane)
    yield kubelet
    kubelet.close()


class Jobs:
    """Makes jobs and waits for what becomes of them."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.made: list[str] = []

    def apply(self, name: str, check: bool = True, **spec):
        self.made.append(name)
        job = {
            "apiVersion": "kerasjob.dev/v1alpha1",
            "kind": "KerasJob",
            "metadata": {"name": name},
            "spec": {"workers": 2, "program": {"source": "pass"}} | spec,
        }
        return self.plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(job), check=check)

    def get(self, name: str) -> dict:
        return json.loads(self.plane.kubectl("get", "kj", name, "-o", "json").stdout)

    def wait(self, name: str, path: str, value: str, seconds: int = 20) -> dict:
        """Watches until a field has a value; the job."""
        run = self.plane.kubectl(
            "wait", f"kj/{name}", f"--for=jsonpath={{{path}}}={value}", f"--timeout={seconds}s", check=False
        )
        assert run.returncode == 0, f"{run.stderr}\n{json.dumps(self.get(name).get('status'), indent=1)}"
        return self.get(name)

    def wait_for_pods(self, *names: str) -> None:
        for name in names:  # one by one: kubectl waits for the creation of a single object only
            self.plane.kubectl("wait", "--for=create", "--timeout=20s", f"pod/{name}")

    def delete_all(self) -> None:
        """The jobs and their pods, for which no kubelet is there."""
        for name in self.made:
            self.plane.kubectl("delete", "kj", name, "--ignore-not-found", "--wait=true", check=False)
            pods = ("delete", "pods", "-l", f"kerasjob.dev/job={name}", "--force", "--grace-period=0")
            self.plane.kubectl(*pods, check=False)

    def children(self, name: str) -> set[str]:
        kinds = "pods,services,configmaps,secrets,networkpolicies"
        found = self.plane.kubectl("get", kinds, "-l", f"kerasjob.dev/job={name}", "-o", "name").stdout
        return set(found.split())


@pytest.fixture
def jobs(plane, operator):
    jobs = Jobs(plane)
    yield jobs
    jobs.delete_all()


def eventually(check: Callable[[], object], seconds: float = 20) -> None:
    """For what kubectl cannot wait for."""
    pause, waited = threading.Event(), 0.0
    while not check():
        assert waited < seconds, "not in time"
        pause.wait(0.1)
        waited += 0.1


def start(jobs, kubelet, name: str, first_host: int, **spec):
    """A job whose two workers are ready and train."""
    jobs.apply(name, **spec)
    jobs.wait_for_pods(f"{name}-0-0", f"{name}-1-0")
    agents = [kubelet.run(f"{name}-{slot}-0", f"127.0.1.{first_host + slot}") for slot in range(2)]
    jobs.wait(name, ".status.phase", "Running")
    return agents


def failure(**record) -> str:
    return json.dumps(record)


def created(plane, prefix: str) -> list[str]:
    """Names of pods that the audit log saw created."""
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    return [
        event["objectRef"]["name"]
        for event in events
        if event["verb"] == "create"
        and event["stage"] == "ResponseComplete"
        and event["responseStatus"]["code"] == 201
        and "dryRun=" not in event["requestURI"]
        and event["objectRef"].get("resource") == "pods"
        and event["objectRef"].get("name", "").startswith(prefix)
    ]
