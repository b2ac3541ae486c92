"""What Prometheus answers to the dashboards' queries, at once or from a file. Used by all that draw."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POINTS = 200
TRAINING = (
    "topk(1, max by (namespace, name) (kerasjob_progress_total_step"
    ' and on (namespace, name) kerasjob_status_phase{phase="Running"} == 1))'
)


class NoPicture(Exception):
    """What is missing, in words."""


@dataclass(frozen=True)
class Series:
    """Of one set of labels: times and values, without those that are no number."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


@dataclass
class Answers:
    """Of one span of time. Without a server only what was recorded is known."""

    start: float
    end: float
    variables: dict[str, str]
    known: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    server: str | None = None

    @property
    def step(self) -> float:
        return max(1.0, round((self.end - self.start) / POINTS))

    def to(self, expression: str, *, instant: bool) -> list[Series]:
        """As of the end, or over the whole span."""
        key = f"{'instant' if instant else 'range'} {expression}"
        if key not in self.known:
            if self.server is None:
                raise NoPicture(f"the recorded answers lack this one: {key}")
            times = {"time": self.end} if instant else {"start": self.start, "end": self.end, "step": self.step}
            self.known[key] = ask(self.server, "query" if instant else "query_range", query=expression, **times)
        return [_series(each) for each in self.known[key]]

    def record(self, file: Path) -> None:
        content = {"start": self.start, "end": self.end, "variables": self.variables, "known": self.known}
        file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    @classmethod
    def replay(cls, file: Path) -> Answers:
        return cls(**json.loads(file.read_text()))


def ask(server: str, path: str, **arguments: Any) -> list[dict[str, Any]]:
    """Raises NoPicture where there is no answer."""
    url = f"{server.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result
    except urllib.error.HTTPError as error:
        raise NoPicture(f"{arguments['query']}: {error.read().decode()}") from error
    except OSError as error:
        raise NoPicture(f"no Prometheus at {server}: {error}") from error


def job_that_trains(server: str, at: float) -> tuple[str, str]:
    """Namespace and name of the one that has come farthest."""
    for found in ask(server, "query", query=TRAINING, time=at):
        return found["metric"]["namespace"], found["metric"]["name"]
    raise NoPicture(
        "no job trains; begin one (examples/), wait a few minutes, or name one that has trained: --job NAME"
    )


def _series(answer: dict[str, Any]) -> Series:
    pairs = answer["values"] if "values" in answer else [answer["value"]]
    points = [(float(time), float(value)) for time, value in pairs]
    return Series(answer["metric"], [point for point in points if math.isfinite(point[1])])
