"""What the cluster tests use: kubectl, the S3 server, Prometheus and the nodes' processes, all real.

Nothing here sleeps: what is awaited is watched (`kubectl get -w`), and a deadline says what was seen last.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".cluster"
KUBECTL = STATE / "bin" / "kubectl"
ENV = {**os.environ, "KUBECONFIG": str(STATE / "kubeconfig")}


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs kubectl against the test cluster."""
    run = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, env=ENV, timeout=120)
    if check and run.returncode != 0:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {run.stdout}{run.stderr}")
    return run


def get(kind: str, name: str | None = None, namespace: str = "default", selector: str | None = None) -> dict:
    """An object or a list, as JSON."""
    extra = [name] if name else ["-l", selector] if selector else []
    return json.loads(kubectl("get", kind, *extra, "-n", namespace, "-o", "json").stdout)


def apply(job: dict, check: bool = True) -> subprocess.CompletedProcess[str]:
    """kubectl apply, with its strict field validation."""
    return kubectl("apply", "-f", "-", stdin=yaml.safe_dump(job), check=check)


def pods_of(job: str, namespace: str = "default") -> list[dict]:
    return get("pods", namespace=namespace, selector=f"kerasjob.dev/job={job}")["items"]


@contextlib.contextmanager
def watching(name: str, namespace: str = "default") -> Iterator[Iterator[dict]]:
    """The states of a KerasJob as they come, from now on."""
    command = [KUBECTL, "get", "kj", name, "-n", namespace, "-w", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENV) as process:
        try:
            yield _objects(process.stdout)
        finally:
            process.kill()


def _objects(stream) -> Iterator[dict]:
    text, decoder = "", json.JSONDecoder()
    for line in stream:
        text += line
        if line.startswith("}"):
            value, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
            yield value


def wait_for(name: str, predicate: Callable[[dict], bool], seconds: float, namespace: str = "default") -> list[dict]:
    """Watches a job until the predicate holds for its status; all statuses seen on the way."""
    seen: list[dict] = []
    with watching(name, namespace) as states:
        # The watch ends with its process; a timer turns a state that never comes into an end of the stream.
        timer = threading.Timer(seconds, lambda: _kill_watch(name, namespace))
        timer.start()
        try:
            for job in states:
                status = job.get("status", {})
                seen.append(status)
                if predicate(status):
                    return seen
        finally:
            timer.cancel()
    last = json.dumps(seen[-1] if seen else {}, indent=1)
    raise AssertionError(f"{name}: not seen within {seconds} s; last status: {last}\n{diagnosis(name, namespace)}")


def _kill_watch(name: str, namespace: str) -> None:
    marker = ["get", "kj", name, "-n", namespace, "-w"]
    for pid, command in _commands():
        if command[1:7] == marker and Path(f"/proc/{pid}/stat").read_text().split()[3] == str(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def finish(name: str, seconds: float = 300, namespace: str = "default") -> list[dict]:
    """Waits until a job has succeeded; all statuses seen on the way."""
    seen = wait_for(name, phase_is("Succeeded", "Failed"), seconds, namespace)
    assert seen[-1]["phase"] == "Succeeded", json.dumps(seen[-1], indent=1) + diagnosis(name, namespace)
    return seen


def phase_is(*phases: str) -> Callable[[dict], bool]:
    return lambda status: status.get("phase") in phases


def trains(epoch: int = 1, step: int = 1) -> Callable[[dict], bool]:
    """Whether a job is in mid-training, at this epoch and step or later."""

    def check(status: dict) -> bool:
        progress = status.get("progress") or {}
        position = (progress.get("call", 0), progress.get("epoch", 0), progress.get("step", 0))
        return status.get("phase") == "Running" and position >= (0, epoch, step)

    return check


def trains_in_ring(revision: int, **losses: int) -> Callable[[dict], bool]:
    """Whether a job trains in this ring or a later one, after these losses (`restarts`, `disruptions`)."""

    def check(status: dict) -> bool:
        lost = {name: status.get(name) for name in losses}
        ring = status.get("ring") or {}
        return status.get("phase") == "Running" and lost == losses and ring.get("revision", 0) >= revision

    return check


def condition(status: dict, type_: str) -> dict:
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {"status": "False", "message": ""})


def diagnosis(name: str, namespace: str = "default") -> str:
    """What a person would look at."""
    parts = [kubectl("get", "pods,events", "-n", namespace, "-o", "wide", check=False).stdout[-4000:]]
    for pod in pods_of(name, namespace):
        parts.append(kubectl("logs", "-n", namespace, "--tail=40", pod["metadata"]["name"], check=False).stdout)
    parts.append(
        kubectl("logs", "-n", "kerasjob-system", "--tail=40", "deployment/kerasjob-operator", check=False).stdout
    )
    return "\n".join(parts)


def _commands() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")


def agent_process(pod: str) -> int:
    """The host's pid of a pod's first process, the agent."""
    for pid, command in _commands():
        if "kerasjob_trainer.agent" in command:
            with contextlib.suppress(OSError):
                environment = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
                if f"HOSTNAME={pod}" in environment:
                    return pid
    raise AssertionError(f"no agent process of pod {pod} on this machine")


def trainer_process(pod: str) -> int:
    """The host's pid of a pod's trainer: the youngest descendant of its agent that the warm process forked."""
    agent = agent_process(pod)
    children = _children(agent)
    grandchildren = [pid for child in children for pid in _children(child)]
    assert grandchildren, f"pod {pod} has no trainer process"
    return max(grandchildren)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(entry.name))
    return found


def endpoints() -> dict:
    return json.loads((STATE / "endpoints.json").read_text())


def s3():
    """A client of the cluster's S3 server."""
    import boto3

    ends = endpoints()
    return boto3.client(
        "s3",
        endpoint_url=ends["s3"],
        aws_access_key_id=ends["s3AccessKey"],
        aws_secret_access_key=ends["s3SecretKey"],
        region_name="us-east-1",
    )


def keys(prefix: str) -> list[str]:
    pages = s3().get_paginator("list_objects_v2").paginate(Bucket="kerasjob", Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def done_record(job: dict) -> dict:
    """`done.json` of a finished job."""
    key = f"checkpoints/{job['metadata']['uid']}/done.json"
    return json.loads(s3().get_object(Bucket="kerasjob", Key=key)["Body"].read())


def query(expression: str) -> list[dict]:
    """An instant query of Prometheus."""
    url = f"{endpoints()['prometheus']}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)["data"]["result"]


def eventually(check: Callable[[], object], seconds: float, what: str) -> None:
    """For what has no watch (Prometheus scrapes on its own clock): asks again until it holds."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        threading.Event().wait(0.5)


def delete(name: str, namespace: str = "default") -> None:
    """Deletes a job and waits until its pods are gone."""
    where = ("-n", namespace)
    kubectl("delete", "kj", name, *where, "--ignore-not-found", "--wait=true", check=False)
    kubectl("wait", "pods", "-l", f"kerasjob.dev/job={name}", *where, "--for=delete", "--timeout=100s", check=False)
