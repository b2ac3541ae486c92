"""What other people's programs say of what we ship: alerts and metrics."""

import os
import re
import subprocess

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from tests.integration.control_plane import ROOT
from tests.integration.test_chart import CHART
from tests.unit.operator.test_store import job

from kerasjob_cluster import paths, tools
from kerasjob_operator import metrics as operator_metrics
from kerasjob_operator.store import Store
from kerasjob_trainer import metrics as trainer_metrics
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.status import Status

ALERTS = CHART / "files/alerts.yaml"
ALERT_TESTS = sorted((ROOT / "tests/alerts").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _tools():
    tools.ensure({"promtool"})


def said_by(program: str, *arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Ours are found before those on PATH."""
    environment = {**os.environ, "PATH": f"{paths.BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        [program, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120, cwd=ROOT,
        env=environment,
    )  # fmt: skip


def content_with(program: str, *arguments: object, stdin: str | None = None) -> str:
    """A program that finds nothing; what it said."""
    run = said_by(program, *arguments, stdin=stdin)
    assert run.returncode == 0, f"{program}: {run.stdout}{run.stderr}"
    return run.stdout


# --- alerts and metrics


def alert_rules() -> dict[str, str]:
    """The expression of each alert."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def operator_exposition() -> str:
    """Every family with at least one sample: promtool looks at no empty one."""
    for counter in (
        operator_metrics.RECONCILE_ERRORS.labels("ApiError"),
        operator_metrics.API_REQUESTS.labels("get", "pods", "200"),
        operator_metrics.AGENT_REQUESTS.labels("status", "ok"),
        operator_metrics.RESTARTS.labels("OutOfMemory"),
        operator_metrics.DISRUPTIONS.labels("Evicted"),
    ):
        counter.inc()
    operator_metrics.API_REQUEST_SECONDS.labels("get", "pods").observe(0.1)
    store, registry = Store("image"), CollectorRegistry()
    progress = {"totalStep": 7, "metrics": [{"name": "loss", "value": "0.5"}]}
    store.put_job(job(phase="Running", resolved={"image": "i:1", "seed": 3}, progress=progress))
    registry.register(operator_metrics.JobCollector(store.jobs))
    both = (operator_metrics.REGISTRY, registry)
    assert [family.name for each in both for family in each.collect() if not family.samples] == []
    return "".join(generate_latest(each).decode() for each in both)


def trainer_exposition() -> str:
    meters = Meters()
    meters.gauges = dict.fromkeys(trainer_metrics._GAUGES, 1.0)
    meters.metrics = {"accuracy": 0.5}
    return trainer_metrics.exposition(meters, Status(0, 0))


def test_the_alerts_are_rules():
    content_with("promtool", "check", "rules", "--lint=all", "--lint-fatal", ALERTS)


def test_the_alerts_fire_when_they_should_and_only_then():
    content_with("promtool", "test", "rules", *ALERT_TESTS)


def test_each_alert_is_tried_where_it_fires_and_where_it_is_silent():
    """And silent in a test of its own: one that waits for its `for` is silent too."""
    fires, silent = set(), set()
    for group in (group for file in ALERT_TESTS for group in yaml.safe_load(file.read_text())["tests"]):
        firing = {case["alertname"] for case in group["alert_rule_test"] if case["exp_alerts"]}
        fires |= firing
        silent |= {case["alertname"] for case in group["alert_rule_test"]} - firing
    assert fires == silent == alert_rules().keys()


def test_alerts_ask_for_series_that_the_operator_has():
    asked = set(re.findall(r"kerasjob_\w+", " ".join(alert_rules().values())))
    assert asked - set(re.findall(r"(?m)^(kerasjob_\w+)", operator_exposition())) == set()


@pytest.mark.parametrize("exposition", [operator_exposition, trainer_exposition])
def test_metrics_are_named_as_prometheus_wants_them(exposition):
    assert "kerasjob_" in exposition()
    content_with("promtool", "check", "metrics", stdin=exposition())
