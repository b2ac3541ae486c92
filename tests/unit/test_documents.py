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


@pytest.mark.parametrize("document", ["docs/asks.md"])
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
    meters = Meters()
    for name in metrics._GAUGES:
        meters.gauge(name, 1.0)
    families += text_string_to_metric_families(metrics.exposition(meters, Status(0, 0)))
    there = {f"{f.name}_total" if f.type == "counter" else f.name for f in families if "kerasjob" in f.name}
    named = set(re.findall(r"`(kerasjob_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert named == there
