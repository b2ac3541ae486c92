"""The jobs of the benchmark, and the client that makes them flat out.

    KUBECONFIG=… python -m operator_load.jobs JOBS WORKERS [--large N]

Prints a line for each job: its name and the second at which the API server had it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

from kerasjob_operator.api_client import KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS

NAMESPACE = "load"
AT_ONCE = 16
LARGE = "job-large"


def a_job(name: str, workers: int) -> dict[str, Any]:
    return {
        "apiVersion": "kerasjob.dev/v1alpha1",
        "kind": "KerasJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"workers": workers, "image": "image", "seed": 1, "program": {"script": "/app/train.py"}},
    }


async def main(jobs: int, workers: int, large: int) -> None:
    api = await KubernetesApi.connect()
    wanted = iter([(LARGE, large)] * bool(large) + [(f"job-{number}", workers) for number in range(jobs)])

    async def work() -> None:
        for name, size in wanted:
            await api.create(JOBS, NAMESPACE, a_job(name, size))
            print(name, time.time(), flush=True)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    await api.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("--large", type=int, default=0, help="one more job of so many workers, made first")
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.workers, options.large))
