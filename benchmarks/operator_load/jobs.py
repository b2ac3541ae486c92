"""The jobs of the benchmark, and the client that makes them flat out.

    KUBECONFIG=… python -m operator_load.jobs JOBS WORKERS [--large N]

Prints a line for each job: its name and the second at which the API server had it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from kerasjob_operator.api_client import KubernetesApi
from kerasjob_operator.kubernetes_cluster import JOBS

NAMESPACE = "load"
AT_ONCE = 16
LARGE = "job-large"
Item = TypeVar("Item")


def a_job(name: str, workers: int) -> dict[str, Any]:
    return {
        "apiVersion": "kerasjob.dev/v1alpha1",
        "kind": "KerasJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"workers": workers, "image": "image", "seed": 1, "program": {"script": "/app/train.py"}},
    }


async def some_at_once(items: Iterable[Item], do: Callable[[Item], Awaitable[None]]) -> None:
    """Does it with all items, in order, sixteen at a time."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def main(jobs: int, workers: int, large: int) -> None:
    api = await KubernetesApi.connect()

    async def make(wanted: tuple[str, int]) -> None:
        name, size = wanted
        await api.create(JOBS, NAMESPACE, a_job(name, size))
        print(name, time.time(), flush=True)

    await some_at_once([(LARGE, large)] * bool(large) + [(f"job-{number}", workers) for number in range(jobs)], make)
    await api.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=int)
    parser.add_argument("workers", type=int)
    parser.add_argument("--large", type=int, default=0, help="one more job of so many workers, made first")
    options = parser.parse_args()
    asyncio.run(main(options.jobs, options.workers, options.large))
