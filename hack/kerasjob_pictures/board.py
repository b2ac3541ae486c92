"""A dashboard's file, as far as it is drawn. Used by `page`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerasjob_pictures.answers import Answers, Series

# As Grafana has it for a Prometheus that is asked every 15 seconds.
RATE_INTERVAL = "1m"


@dataclass(frozen=True)
class Target:
    expression: str
    legend: str
    instant: bool
    letter: str


@dataclass(frozen=True)
class Panel:
    kind: str
    title: str
    unit: str
    place: tuple[int, int, int, int]  # x, y, width, height, in Grafana's grid
    targets: tuple[Target, ...]
    thresholds: tuple[tuple[float | None, str], ...]
    stacked: bool
    organized: dict[str, Any]  # a table's columns: `excludeByName`, `renameByName`

    def asked(self, variables: dict[str, str], answers: Answers) -> list[tuple[Target, list[Series]]]:
        """Each target with what was answered."""
        return [(t, answers.to(replaced(t.expression, variables), instant=t.instant)) for t in self.targets]


@dataclass(frozen=True)
class Board:
    title: str
    panels: tuple[Panel, ...]
    variables: dict[str, str]  # those for which "all" is chosen

    @property
    def rows(self) -> int:
        return max(p.place[1] + p.place[3] for p in self.panels)


def read(file: Path) -> Board:
    content = json.loads(file.read_text())
    every = {v["name"]: v["allValue"] for v in content["templating"]["list"] if v.get("allValue")}
    return Board(content["title"], tuple(_panel(p) for p in content["panels"]), every)


def replaced(text: str, variables: dict[str, str]) -> str:
    """With `$name` in place."""
    given = {**variables, "__rate_interval": RATE_INTERVAL}
    return re.sub(r"\$(\w+)", lambda found: given[found[1]], text)


def legend(target: Target, labels: dict[str, str]) -> str:
    """What a series is called."""
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), target.legend)


def _panel(content: dict[str, Any]) -> Panel:
    defaults = content.get("fieldConfig", {}).get("defaults", {})
    grid = content["gridPos"]
    organized: dict[str, Any] = next(
        (t["options"] for t in content.get("transformations", ()) if t["id"] == "organize"), {}
    )
    return Panel(
        content["type"],
        content["title"],
        defaults.get("unit", "none"),
        (grid["x"], grid["y"], grid["w"], grid["h"]),
        tuple(_target(t) for t in content.get("targets", ())),
        tuple((s["value"], s["color"]) for s in defaults.get("thresholds", {}).get("steps", ())),
        defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
        organized,
    )


def _target(content: dict[str, Any]) -> Target:
    return Target(content["expr"], content["legendFormat"], content["instant"], content["refId"])
