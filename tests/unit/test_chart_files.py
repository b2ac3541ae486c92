"""Files of the chart that Helm only carries."""

from pathlib import Path

import yaml

import chart_readme

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((ROOT / "charts/kerasjob/files/alerts.yaml").read_text())


def test_every_alert_has_a_section_in_the_runbook():
    sections = [line[3:] for line in (ROOT / "docs/runbook.md").read_text().splitlines() if line.startswith("## ")]
    assert sections == [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]


def test_the_readme_is_what_the_values_say():
    assert (ROOT / "charts/kerasjob/README.md").read_text() == chart_readme.render(), "run `make generate`"


def test_every_value_is_described_and_in_the_schema():
    """A comment above each value, or above the group that it is in."""
    text = (ROOT / "charts/kerasjob/values.yaml").read_text()
    schema = yaml.safe_load((ROOT / "charts/kerasjob/values.schema.json").read_text())
    assert set(yaml.safe_load(text)) | {"global"} == set(schema["properties"])
