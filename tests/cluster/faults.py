"""Faults, one after the other, on one job of the real cluster; what each costs, into a document.

    python -m tests.cluster.faults [--write docs/recovery.md] [--random N] [FAULT...]

The cluster must be up. The job ends as an undisturbed one, bit for bit, or the command fails.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.cluster import cluster
from tests.cluster.cluster import eventually, kubectl

NAME = "faults"
SECONDS = 300.0
STEADY_STEPS = 20  # between two faults

SOURCE = """
import sys, time
import keras, numpy as np

class Say(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(sys.argv[2]))
        print("step", int(self.model.optimizer.iterations), time.time(), flush=True)

x = np.random.normal(size=(160, 16)).astype("float32")
y = (x.sum(axis=1) > 0).astype("float32")
layers = [keras.layers.Dense(32, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1, "sigmoid")]
model = keras.Sequential([keras.Input((16,)), *layers])
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.fit(x, y, batch_size=8, epochs=int(sys.argv[1]), verbose=0, callbacks=[Say()])
"""


@dataclass(frozen=True)
class Fault:
    """`harm` does it to one worker's pod. `heal` undoes what a node was done."""

    words: str
    harm: Callable[[dict], None]
    heal: Callable[[str], None] | None = None
    on_node: bool = False


@dataclass(frozen=True)
class Cost:
    """Of one fault: until the next step, by the workers' own clocks, which are this machine's."""

    fault: str
    who: str
    seconds: float
    steps_lost: int


def name_of(pod: dict) -> str:
    return pod["metadata"]["name"]


def node_of(pod: dict) -> str:
    return pod["spec"]["nodeName"]


def fate(what: str, node: str) -> None:
    command = [sys.executable, "-m", "kerasjob_cluster", "node", what, node]
    environment = {**os.environ, "PYTHONPATH": str(cluster.ROOT / "hack")}
    subprocess.run(command, check=True, env=environment, cwd=cluster.ROOT, capture_output=True)


def wait_for_node(node: str) -> None:
    kubectl("wait", "node", node, "--for=condition=Ready", "--timeout=120s")


def come_back(what: str) -> Callable[[str], None]:
    def heal(node: str) -> None:
        fate(what, node)
        wait_for_node(node)

    return heal


FAULTS = {
    "process": Fault(
        "the trainer's process is killed", lambda pod: os.kill(cluster.trainer_process(name_of(pod)), signal.SIGKILL)
    ),
    "frozen": Fault(
        "the trainer's process is frozen", lambda pod: os.kill(cluster.trainer_process(name_of(pod)), signal.SIGSTOP)
    ),
    "container": Fault(
        "the container is killed", lambda pod: os.kill(cluster.agent_process(name_of(pod)), signal.SIGKILL)
    ),
    "pod": Fault("the pod is deleted", lambda pod: kubectl("delete", "pod", name_of(pod), "--wait=false")),
    "drain": Fault(
        "the node is drained",
        lambda pod: kubectl(
            "drain", node_of(pod), "--ignore-daemonsets", "--delete-emptydir-data", "--force",
            "--pod-selector", f"kerasjob.dev/job={NAME}",
        ),
        lambda node: kubectl("uncordon", node),
        on_node=True,
    ),
    "cut": Fault(
        "the node's network is cut", lambda pod: fate("cut", node_of(pod)), come_back("heal"), on_node=True
    ),
    "crash": Fault(
        "the node loses its power", lambda pod: fate("crash", node_of(pod)), come_back("start"), on_node=True
    ),
}  # fmt: skip


def make(name: str, epochs: int, pause: float) -> dict:
    """The job. A worker that was replaced may run beside another one."""
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"kerasjob.dev/job": name}},
    }
    spec = yaml.safe_load((cluster.ROOT / "examples/mnist/kerasjob.yaml").read_text())["spec"]
    return {
        "apiVersion": "kerasjob.dev/v1alpha1",
        "kind": "KerasJob",
        "metadata": {"name": name},
        "spec": {
            "workers": 2,
            "seed": 7,
            "program": {"source": SOURCE, "args": [str(epochs), str(pause)]},
            "storage": spec["storage"],
            "checkpoint": {**spec["checkpoint"], "everySteps": 50},
            "failurePolicy": {"maxRestarts": 1000},
            "terminationGracePeriodSeconds": 30,
            "resources": spec["resources"],
            "podTemplate": {"spec": {"topologySpreadConstraints": [spread]}},
        },
    }


def steps(job: str) -> list[tuple[float, int]]:
    """When each step was done, as the pods' logs say that can be read."""
    found = []
    for pod in cluster.pods_of(job):
        said = kubectl("logs", name_of(pod), "--request-timeout=5s", check=False).stdout
        for line in said.splitlines():
            words = line.split()
            if len(words) == 3 and words[0] == "step":
                found.append((float(words[2]), int(words[1])))
    return sorted(found)


def live_pods() -> list[dict]:
    pods = [pod for pod in cluster.pods_of(NAME) if "deletionTimestamp" not in pod["metadata"]]
    return sorted((pod for pod in pods if pod["status"].get("phase") == "Running"), key=name_of)


def operators_node() -> str:
    pods = cluster.get("pods", namespace="kerasjob-system", selector="app.kubernetes.io/name=kerasjob-operator")
    return next(node_of(pod) for pod in pods["items"] if pod["status"].get("phase") == "Running")


def victim(fault: Fault, first: bool) -> dict:
    """A worker's pod: the first or the other one; for the fault of a node one that is not beside the operator."""
    pods = live_pods()
    if not fault.on_node:
        return pods[0 if first else -1]
    while True:
        away = [pod for pod in live_pods() if node_of(pod) != operators_node()]
        if away:
            return away[0]
        before = steps(NAME)[-1][1]
        kubectl("delete", "pod", name_of(live_pods()[-1]), "--wait=false")
        wait_for_step(before + 1)


def wait_for_step(number: int, after: float = 0.0) -> tuple[float, int]:
    """The first step of at least this number, done after a moment."""
    found: list[tuple[float, int]] = []

    def look() -> bool:
        found[:] = [(at, step) for at, step in steps(NAME) if at > after and step >= number][:1]
        return bool(found)

    eventually(look, SECONDS, f"step {number}")
    return found[0]


def inflict(fault: Fault, *, first: bool) -> Cost:
    """One fault, and what it costs."""
    pod = victim(fault, first)
    slot, node = name_of(pod).split("-")[1], node_of(pod)
    wait_for_step(steps(NAME)[-1][1] + STEADY_STEPS)
    at = time.time()
    fault.harm(pod)
    restored = wait_for_ring(at)
    done = max(step for when, step in steps(NAME) if when < restored[0])
    if fault.heal is not None:
        fault.heal(node)
    return Cost(fault.words, f"worker {slot}", restored[0] - at, max(0, done + 1 - restored[1]))


def wait_for_ring(after: float) -> tuple[float, int]:
    """The first step of the ring that was formed since: no step takes a second but the first."""
    found: list[tuple[float, int]] = []

    def look() -> bool:
        since = [(after, 0), *[(at, step) for at, step in steps(NAME) if at > after]]
        found[:] = [new for old, new in itertools.pairwise(since) if new[0] - old[0] > 1.0]
        ring = cluster.get("kj", NAME)["status"]["ring"]
        return bool(found) and not ring["broken"]

    eventually(look, SECONDS, "a ring that trains again")
    return found[0]


def histories(name: str) -> list[dict]:
    return cluster.done_record(cluster.get("kj", name))["histories"]


def run(names: list[str], epochs: int) -> list[Cost]:
    """All of them, one after the other. Raises AssertionError where the job does not end as one left alone."""
    cluster.apply(make("undisturbed", epochs, 0.0))
    cluster.apply(make(NAME, epochs, 0.1))
    costs = []
    try:
        cluster.wait_for("undisturbed", cluster.phase_is("Succeeded", "Failed"), SECONDS)
        expected = histories("undisturbed")
        cluster.wait_for(NAME, cluster.trains(), SECONDS)
        for number, name in enumerate(names):
            costs.append(inflict(FAULTS[name], first=number % 2 == 0))
            print(costs[-1], flush=True)
        seen = cluster.wait_for(NAME, cluster.phase_is("Succeeded", "Failed"), 900)
        assert seen[-1]["phase"] == "Succeeded", json.dumps(seen[-1], indent=1)
        assert histories(NAME) == expected, "not as the one that was left alone"
    finally:
        cluster.delete("undisturbed")
        if not os.environ.get("KEEP"):
            cluster.delete(NAME)
    return costs


ABOUT = """# What a fault costs

Written by `python -m tests.cluster.faults --write docs/recovery.md` on the test cluster (two nodes on one machine). One
job of two workers meets all of these, one after the other, and ends as one that was left alone, bit for bit. Seconds
are from the fault to the next training step; the program's own beginning (data, model, tracing) is part of them, and
where a pod is replaced, that pod's start. A step that nobody but the lost worker had finished counts as lost.

| fault | of | seconds to the next step | steps lost |
|---|---|---|---|
"""


def document(costs: list[Cost]) -> str:
    return ABOUT + "".join(f"| {c.fault} | {c.who} | {c.seconds:.1f} | {c.steps_lost} |\n" for c in costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)} (default: all, twice)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document")
    parser.add_argument("--random", type=int, metavar="N", help="so many at random")
    options = parser.parse_args()
    names = options.faults or [name for name in FAULTS for _ in range(1 if FAULTS[name].on_node else 2)]
    if options.random:
        names = random.choices(list(FAULTS), k=options.random)
    costs = run(names, epochs=10 + 6 * len(names))
    text = document(costs)
    print(text)
    if options.write is not None:
        options.write.write_text(text)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
