"""Time from `kubectl apply` to the first step of training, split into its parts, and the share of it that is ours.

    make cluster-up && python benchmarks/first_step.py [--runs N]

A tiny program on two workers. Beside it, in the same run, the same program as a bare Pod with `python train.py` and no
operator, no agent and no ring: what any such job costs. Ratios are what counts; seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cluster import cluster  # the same kubectl, watches and S3 as the tests use

PROGRAM = """
import time
import keras, numpy as np

class First(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            print("FIRST_STEP", time.time(), flush=True)

model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.ones((64, 8)), np.ones((64, 1)), batch_size=16, callbacks=[First()], verbose=0)
"""
JOB = {
    "apiVersion": "kerasjob.dev/v1alpha1",
    "kind": "KerasJob",
    "metadata": {"name": "first-step"},
    "spec": {"workers": 2, "seed": 1, "program": {"source": PROGRAM}},
}


def time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def logged(pod: str) -> float:
    """When the program said that its first step was done."""
    lines = cluster.kubectl("logs", pod).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("FIRST_STEP")][:1]
    return float(line.split()[1])


def condition_time(pod: dict, type_: str) -> float:
    return next(time_of(c["lastTransitionTime"]) for c in pod["status"]["conditions"] if c["type"] == type_)


def kerasjob() -> dict[str, float]:
    """One run of the job. Times of the API server are whole seconds, so parts are good to a second."""
    cluster.delete("first-step")
    start = time.time()
    cluster.apply(JOB)
    seen: dict[str, float] = {}
    with cluster.watching("first-step") as states:
        for job in states:
            status, now = job.get("status", {}), time.time()
            if len(cluster.pods_of("first-step")) == 2:
                seen.setdefault("pods created", now)
            if (status.get("ring") or {}).get("members"):
                seen.setdefault("ring granted", now)
            if status.get("phase") in ("Succeeded", "Failed"):
                assert status["phase"] == "Succeeded", json.dumps(status)
                break
    first = logged("first-step-0-0")
    pods = cluster.pods_of("first-step")
    started = max(time_of(p["status"]["containerStatuses"][0]["state"]["terminated"]["startedAt"]) for p in pods)
    cluster.delete("first-step")
    return {
        "apply to pods created (operator)": seen["pods created"] - start,
        "to containers started (Kubernetes)": started - seen["pods created"],
        "to ring granted (agent: staging, TensorFlow import)": seen["ring granted"] - started,
        "to the first step (ring, fork, strategy, model, tracing)": first - seen["ring granted"],
        "total": first - start,
    }


def bare_pod(image: str) -> dict[str, float]:
    """The same program as a pod of its own."""
    cluster.kubectl("delete", "pod", "bare", "--ignore-not-found", "--wait=true")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "trainer", "image": image, "command": ["python", "-c", PROGRAM],
                 "env": [{"name": "HOME", "value": "/tmp"}]}
            ],
        },
    }  # fmt: skip
    start = time.time()
    cluster.apply(pod)
    cluster.kubectl("wait", "pod/bare", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    first = logged("bare")
    state = cluster.get("pod", "bare")["status"]["containerStatuses"][0]["state"]["terminated"]
    cluster.kubectl("delete", "pod", "bare", "--wait=true")
    return {
        "apply to container started (Kubernetes)": time_of(state["startedAt"]) - start,
        "to the first step (import, model, tracing)": first - time_of(state["startedAt"]),
        "total": first - start,
    }


def table(title: str, runs: list[dict[str, float]]) -> float:
    print(title)
    for part in runs[0]:
        values = [run[part] for run in runs]
        print(f"  {part:58} {statistics.median(values):6.1f} s   ({min(values):.1f} … {max(values):.1f})")
    return statistics.median(run["total"] for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--image", default="localhost/kerasjob/trainer:dev")
    options = parser.parse_args()
    jobs, pods = [], []
    for _ in range(options.runs):  # alternately, so that the machine's noise falls on both
        jobs.append(kerasjob())
        pods.append(bare_pod(options.image))
    ours, bare = table("KerasJob, 2 workers", jobs), table("bare pod, 1 process", pods)
    print(f"ratio of the totals: {ours / bare:.2f}; ours beyond a bare pod: {ours - bare:.1f} s of {ours:.1f} s "
          f"({100 * (ours - bare) / ours:.0f} %)")  # fmt: skip


if __name__ == "__main__":
    main()
