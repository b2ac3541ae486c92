"""Files of the chart that Helm only carries."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import chart_readme
import kerasjob_dashboards

ROOT = Path(__file__).parents[2]
DASHBOARDS = ROOT / "charts/kerasjob/files/dashboards"
ALERTS = yaml.safe_load((ROOT / "charts/kerasjob/files/alerts.yaml").read_text())


def test_every_alert_has_a_section_in_the_runbook():
    sections = [line[3:] for line in (ROOT / "docs/runbook.md").read_text().splitlines() if line.startswith("## ")]
    assert sections == [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]


def test_the_dashboards_are_what_the_code_says(tmp_path):
    kerasjob_dashboards.write(tmp_path)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in DASHBOARDS.iterdir()}, "run `make generate`"


def test_every_panel_says_what_it_shows_in_which_unit():
    for file in DASHBOARDS.iterdir():
        panels = [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]
        assert len(panels) >= 10
        for panel in panels:
            assert panel["description"].endswith("."), panel["title"]
            assert panel["type"] in ("table", "state-timeline") or panel["fieldConfig"]["defaults"]["unit"], panel
        titles = [panel["title"] for panel in panels]
        assert len(set(titles)) >= len(titles) - 1  # workers, as a number and over time


def test_the_readme_is_what_the_values_say():
    assert (ROOT / "charts/kerasjob/README.md").read_text() == chart_readme.render(), "run `make generate`"


VALUES = (ROOT / "charts/kerasjob/values.yaml").read_text()


def paths_of(values: object, schema: dict, path: str = "") -> Iterator[str]:
    """Of each value. A group has the names that its schema has, and no other may be set; in an open map all may."""
    if not isinstance(values, dict) or "properties" not in schema:
        yield path
        return
    assert schema["additionalProperties"] is False, path
    # What is set for all charts of a release is no value of ours.
    assert set(values) | ({"global"} if not path else set()) == set(schema["properties"]), path
    for name, value in values.items():
        yield from paths_of(value, schema["properties"][name], f"{path}.{name}" if path else name)


def test_every_value_is_described_and_in_the_schema():
    """A comment above each value, or above the group that it is in."""
    schema = json.loads((ROOT / "charts/kerasjob/values.schema.json").read_text())
    paths = list(paths_of(yaml.safe_load(VALUES), schema))
    described = {path for path, _ in chart_readme.rows(VALUES)}
    groups = {path: {path.rsplit(".", depth)[0] for depth in range(path.count(".") + 1)} for path in paths}
    assert len(paths) > 40
    assert [path for path in paths if not groups[path] & described] == []


def test_a_value_that_is_new_in_a_group_is_found():
    schema = json.loads((ROOT / "charts/kerasjob/values.schema.json").read_text())
    values = yaml.safe_load(VALUES)
    values["monitoring"]["podMonitor"]["timeout"] = "1s"
    with pytest.raises(AssertionError, match=r"monitoring\.podMonitor"):
        list(paths_of(values, schema))
