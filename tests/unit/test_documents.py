"""Documents that name tests name tests that are there."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.operator.test_health import job

from kerasjob_operator.job_metrics import JobCollector
from kerasjob_operator.metrics import REGISTRY
from kerasjob_operator.store import Store
from kerasjob_trainer import metrics
from kerasjob_trainer.meters import Meters
from kerasjob_trainer.status import Status

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["docs/asks.md", "docs/kubernetes-rules.md"])
def test_every_test_that_a_document_names_is_there(document):
    rows = [line for line in (ROOT / document).read_text().splitlines() if line.startswith("| ") and "---" not in line]
    for row in rows[1:]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"a row without a test: {row[:60]}"
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_every_metric_is_in_the_document_and_no_other_is():
    store = Store("image")
    store.put_job(job(phase="Running"))
    families = [*REGISTRY.collect(), *JobCollector(store.jobs).collect()]
    families += text_string_to_metric_families(a_workers_exposition())
    there = {f"{f.name}_total" if f.type == "counter" else f.name for f in families if "kerasjob" in f.name}
    named = set(re.findall(r"`(kerasjob_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert named == there


def test_a_worker_has_as_many_series_as_the_document_says():
    series = [line for line in a_workers_exposition().splitlines() if not line.startswith("#")]
    of_histograms = [line for line in series if re.match(r"\w+_(bucket|sum|count)\b", line)]
    words = (
        f"A worker has {len(series)} series with two metrics and one GPU, {len(of_histograms)} of them\nof histograms"
    )
    assert words in (ROOT / "docs/metrics.md").read_text()


def a_workers_exposition() -> str:
    meters = Meters()
    for name in metrics._GAUGES:
        meters.gauge(name, 1.0)
    meters.metrics, meters.gpu_memory = {"loss": 1.0, "accuracy": 1.0}, [1.0]
    return metrics.exposition(meters, Status(0, 0))
