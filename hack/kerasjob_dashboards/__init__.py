"""The Grafana dashboards, made by code: `python -m kerasjob_dashboards` writes them into the chart."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from kerasjob_dashboards.fleet import fleet
from kerasjob_dashboards.job import job
from kerasjob_dashboards.operator import operator


def write(directory: Path) -> None:
    """Writes one file for each."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in (("fleet", fleet), ("job", job), ("operator", operator)):
        text = JSONEncoder(sort_keys=True, indent=1).encode(make().build())
        (directory / f"{name}.json").write_text(text + "\n")
