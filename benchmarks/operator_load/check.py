"""Compares results with their ranges."""

from __future__ import annotations

import operator
from typing import Any

COMPARE = {">=": operator.ge, "<=": operator.le}


def faults_of(results: dict[str, dict[str, Any]], ranges: dict[str, dict[str, str]]) -> list[str]:
    """A sentence for each result that is out of its range; scenarios that were not run have none."""
    faults = []
    for name, wanted in ranges.items():
        for key, text in wanted.items() if name in results else ():
            sign, limit = text.split()
            value = results[name].get(key)
            if value is None or not COMPARE[sign](value, float(limit)):
                faults.append(f"{name}: {key} is {value}, wanted {text}")
    return faults
