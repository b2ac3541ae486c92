"""What the operator can bear, on a real control plane with kwok's kubelets; beside it a client that only writes.

    python -m benchmarks.operator_load [SCENARIO...] [--json FILE] [--check]

Scenarios are in scenarios.yaml, what their results must be in ranges.yaml. All is on 127.0.0.1 and in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE.parents[1] / "hack")]

from tests.integration.control_plane import Operator  # noqa: E402

from kerasjob_operator.api_client import KubernetesApi  # noqa: E402
from kerasjob_operator.kubernetes_cluster import JOBS  # noqa: E402
from operator_load import plane as planes  # noqa: E402
from operator_load.check import faults_of  # noqa: E402
from operator_load.jobs import LARGE, NAMESPACE, a_job, some_at_once  # noqa: E402
from operator_load.watching import Times, watched  # noqa: E402

SECONDS_PER_JOB = 0.5  # more than this is a failure, not a measurement
QUIET_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")
SETTINGS = {
    # As shipped: the tests' own operator asks and writes far more often.
    "KERASJOB_POLL_INTERVAL_SECONDS": "1",
    "KERASJOB_PROGRESS_INTERVAL_SECONDS": "15",
    "KERASJOB_LOG_LEVEL": "WARNING",
    # As in the operator's image.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
Result = dict[str, Any]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int, what: str = "VmRSS") -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) / 1024


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


@contextlib.contextmanager
def process(module: str, *arguments: str, plane: planes.LoadPlane, **options: Any) -> Iterator[subprocess.Popen]:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "KUBECONFIG": str(plane.kubeconfig)}
    child = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment, **options)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def flat_out(module: str, plane: planes.LoadPlane, *arguments: str) -> dict[str, float]:
    """Runs a client to its end; what it printed: times by job."""

    def run() -> str:
        with process(module, *arguments, plane=plane, stdout=subprocess.PIPE, text=True) as child:
            out, _ = child.communicate()
            assert child.returncode == 0, module
            return out

    lines = (await asyncio.to_thread(run)).splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines}


async def bare(plane: planes.LoadPlane, scenario: dict) -> Result:
    """Jobs a second of the client that only writes."""
    pods = scenario["jobs"] * scenario["workers"]
    async with watched(str(plane.kubeconfig)) as times:
        client = asyncio.create_task(
            flat_out("operator_load.bare", plane, str(scenario["jobs"]), str(scenario["workers"]))
        )
        await times.until(lambda: times.num_pods >= pods, 60 + scenario["jobs"] * SECONDS_PER_JOB)
        seconds = time.time() - times.first
        await client
    plane.clear()
    return {"bare_jobs_per_second": scenario["jobs"] / seconds}


async def with_operator(plane: planes.LoadPlane, scenario: dict) -> Result:
    num, workers, large = scenario["jobs"], scenario["workers"], scenario.get("large", 0)
    limit = 60 + (num + large) * SECONDS_PER_JOB
    operator = Operator(plane, **SETTINGS)
    progress = ("--progress",) if scenario.get("progress") else ()
    result: Result = {}
    with process("operator_load.agents", *progress, plane=plane):
        operator.start()
        try:
            async with watched(str(plane.kubeconfig)) as times:
                before = cpu_seconds(operator.pid)
                plane.audit_log.write_text("")
                options = ("--large", str(large)) if large else ()
                created = await flat_out("operator_load.jobs", plane, str(num), str(workers), *options)
                await times.until(lambda: times.num_pods >= num * workers + large, limit)
                all_pods = max(time for pods in times.pods.values() for time in pods.values())
                result["jobs_per_second"] = num / (all_pods - times.first)
                result |= latencies(times, created, workers)
                await times.until(lambda: times.num_in("Running", "Succeeded") >= num + bool(large), limit)
                result["seconds_to_all_running"] = time.time() - times.first
                if scenario.get("complete"):
                    await times.until(lambda: times.num_in("Succeeded") >= num, limit)
                    waits = [
                        times.phases[job]["Succeeded"] - max(times.ended[job].values(), default=0.0)
                        for job in created
                        if len(times.ended[job]) == workers and "Succeeded" in times.phases[job]
                    ]
                    if waits:  # a job is over with its leader: later ends of others are none of its
                        result["succeeded_p50"] = percentile([max(w, 0.0) for w in waits], 50)
                        result["succeeded_p99"] = percentile([max(w, 0.0) for w in waits], 99)
                result["cpu_ms_per_job"] = 1000 * (cpu_seconds(operator.pid) - before) / num
            result |= requests(plane, num)
            result["rss_mb"] = rss_mb(operator.pid)
            if scenario.get("idle"):
                result |= await idle(operator, scenario["idle"])
            if scenario.get("finished"):
                await add_finished(plane, scenario["finished"])
            if scenario.get("restart"):
                result |= await restart(operator)
        finally:
            operator.kill()
    plane.clear()
    return result


def latencies(times: Times, created: dict[str, float], workers: int) -> Result:
    """From the API server's answer to the generator until the last pod of the job was seen."""
    waits = [max(times.pods[job].values()) - at for job, at in created.items() if job != LARGE]
    assert all(len(times.pods[job]) >= workers for job in created)
    return {"create_to_pods_p50": percentile(waits, 50), "create_to_pods_p99": percentile(waits, 99)}


def requests(plane: planes.LoadPlane, num: int) -> Result:
    """By verb and resource, per job, from the server's audit log."""
    found = plane.audited()
    by = {f"{verb} {resource}": round(count / num, 2) for (verb, resource), count in found.most_common()}
    progress_apart = [
        (verb, resource)
        for verb, resource in found
        if verb in ("create", "patch", "delete", "update") and resource not in ("events", "leases")
    ]
    return {"requests_per_job": by, "writes_per_job": round(sum(found[key] for key in progress_apart) / num, 2)}


async def idle(operator: Operator, seconds: float) -> Result:
    """Of one core, while nothing happens."""
    await asyncio.sleep(QUIET_SECONDS)
    before = cpu_seconds(operator.pid)
    await asyncio.sleep(seconds)
    used = cpu_seconds(operator.pid) - before
    return {"idle_cpu_percent": 100 * used / seconds, "idle_rss_mb": rss_mb(operator.pid)}


async def add_finished(plane: planes.LoadPlane, number: int) -> None:
    """Jobs that ended long ago."""
    api = await KubernetesApi.connect(str(plane.kubeconfig))
    ended = {"type": "Complete", "status": "True", "reason": "ProgramSucceeded", "message": ""}
    ended |= {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Succeeded", "observedGeneration": 1, "completionTime": "2026-01-01T00:00:00Z"}
    patch = [{"op": "add", "path": "/status", "value": status | {"conditions": [ended]}}]

    async def make(index: int) -> None:
        name = f"old-{index}"
        # Somebody else's, so that the operator, which hears of it before it has ended, makes nothing for it.
        job = a_job(name, 4)
        job["spec"]["managedBy"] = "kerasjob.dev/benchmark"
        await api.create(JOBS, NAMESPACE, job)
        await api.patch(JOBS, NAMESPACE, name, patch, "status")

    await some_at_once(range(number), make)
    await api.close()


async def restart(operator: Operator) -> Result:
    """From the start of the process until every job was looked at and nothing is due."""
    operator.kill()
    began = time.monotonic()
    operator.start(seconds=120)
    ready = time.monotonic() - began
    quiet_since = None
    while quiet_since is None or time.monotonic() - quiet_since < 1.0:
        values = metrics(operator)
        quiet = values["kerasjob_queue_depth"] == 0 and values["kerasjob_operator_leader"] == 1
        quiet_since = None if not quiet else quiet_since or time.monotonic()
        await asyncio.sleep(0.2)
    return {
        "restart_ready_seconds": ready,
        "restart_seconds": quiet_since - began,
        "restart_cpu_seconds": cpu_seconds(operator.pid),
        "rss_mb": rss_mb(operator.pid),
        "rss_mb_peak": rss_mb(operator.pid, "VmHWM"),
    }


def metrics(operator: Operator) -> dict[str, float]:
    lines = [line for line in operator.get("/metrics").splitlines() if "{" not in line and not line.startswith("#")]
    return {line.split()[0]: float(line.split()[1]) for line in lines}


async def run(names: list[str]) -> dict[str, Result]:
    scenarios = yaml.safe_load((HERE / "scenarios.yaml").read_text())
    unknown = set(names) - {scenario["name"] for scenario in scenarios}
    if unknown:
        raise SystemExit(f"no scenario {', '.join(unknown)}; there are {', '.join(s['name'] for s in scenarios)}")
    results: dict[str, Result] = {}
    with planes.running() as plane:
        for scenario in scenarios:
            if names and scenario["name"] not in names:
                continue
            plane.run_kwok(scenario.get("complete", 0))
            result = await bare(plane, scenario) if scenario.get("bare") else {}
            result |= await with_operator(plane, scenario)
            if scenario.get("bare"):
                result["ratio_to_bare"] = result["jobs_per_second"] / result["bare_jobs_per_second"]
            results[scenario["name"]] = result
            show(scenario["name"], result)
    return results


def show(name: str, result: Result) -> None:
    print(f"\n{name}")
    for key, value in result.items():
        print(f"  {key:28} {value if isinstance(value, dict) else f'{value:.2f}'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="names in scenarios.yaml (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the results")
    parser.add_argument("--check", action="store_true", help="fail where a result is out of its range")
    options = parser.parse_args()
    results = asyncio.run(run(options.scenarios))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    faults = faults_of(results, yaml.safe_load((HERE / "ranges.yaml").read_text()))
    print("\n" + ("\n".join(faults) or "all results are in their ranges"))
    if options.check and faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
