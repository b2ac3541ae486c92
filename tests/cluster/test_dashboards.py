"""Every query of every panel has an answer while a job trains that has lost a process and a pod."""

import contextlib
import json
import math
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cluster import cluster, faults

DASHBOARDS = sorted((cluster.ROOT / "charts/kerasjob/files/dashboards").glob("*.json"))
NAME = "dashboards"
# As Grafana has them where Prometheus scrapes every 15 seconds.
VARIABLES = {"namespace": "default", "job": NAME, "__rate_interval": "1m"}
# No GPU computes here.
MEMORY = f'kerasjob_trainer_gpu_memory_bytes{{namespace="default",kerasjob_dev_job="{NAME}"}}'
EXCUSED = {f"max by (kerasjob_dev_slot, gpu) ({MEMORY})"}


@pytest.fixture(scope="module")
def battered():
    """A job that trains again after both losses."""
    cluster.apply(faults.make(NAME, epochs=1000, pause=0.1))
    try:
        cluster.wait_for(NAME, cluster.trains(epoch=1), 120)
        os.kill(cluster.trainer_process(f"{NAME}-1-0"), signal.SIGKILL)
        cluster.wait_for(NAME, cluster.trains_in_ring(2, restarts=1, disruptions=0), 60)
        cluster.kubectl("delete", "pod", f"{NAME}-1-0", "--wait=false")
        cluster.wait_for(NAME, cluster.trains_in_ring(3, restarts=1, disruptions=1), 120)
        yield
    finally:
        cluster.delete(NAME)


@dataclass(frozen=True)
class Query:
    """One query of a panel, with the variables' values in it."""

    panel: str
    expression: str
    legend: str

    def series(self) -> list[dict]:
        """Those that have a number; that of an empty histogram is none."""
        return [series for series in cluster.query(self.expression) if not math.isnan(float(series["value"][1]))]


def queries(file: Path) -> list[Query]:
    return [
        Query(
            panel["title"],
            re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], target["expr"]),
            target["legendFormat"],
        )
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def without_data(file: Path) -> list[Query]:
    return [query for query in queries(file) if query.expression not in EXCUSED and not query.series()]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_panel_has_data_of_a_job_that_has_lost_workers(file, battered):
    assert len(queries(file)) >= 15
    with contextlib.suppress(AssertionError):
        cluster.eventually(lambda: not without_data(file), 60, "data in every panel")
    assert without_data(file) == []


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_legend_names_labels_that_the_series_have(file, battered):
    for query in queries(file):
        if query.expression not in EXCUSED:
            named = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
            assert all(named <= series["metric"].keys() for series in query.series()), query


def test_what_has_no_data_here_is_asked_for():
    assert {query.expression for file in DASHBOARDS for query in queries(file)} >= EXCUSED


def test_what_was_lost_is_told_by_the_panels_of_losses(battered):
    for name in ("restarts", "disruptions"):
        (own,) = cluster.query(f'kerasjob_status_{name}{{namespace="default",name="{NAME}"}}')
        assert own["value"][1] == "1"
    (fleet,) = (file for file in DASHBOARDS if file.stem == "fleet")
    lost = [query for query in queries(fleet) if query.panel == "Lost workers, by reason"]
    assert len(lost) == 2
    for query in lost:
        seen = f"max_over_time(({query.expression})[10m:5s]) > 0"
        cluster.eventually(lambda shown=seen: cluster.query(shown), 30, seen)


def test_jobs_and_namespaces_can_be_chosen(battered):
    for file in DASHBOARDS:
        for variable in json.loads(file.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                # label_values(kerasjob_info{namespace="$namespace"}, name)
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
                metric = metric.replace("$namespace", VARIABLES["namespace"])
                found = {series["metric"].get(label) for series in cluster.query(metric)}
                assert VARIABLES[variable["name"]] in found, (file.name, variable["name"])
