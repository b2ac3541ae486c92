"""Documents that name tests name tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["docs/asks.md"])
def test_every_test_that_a_document_names_is_there(document):
    rows = [line for line in (ROOT / document).read_text().splitlines() if line.startswith("| ") and "---" not in line]
    for row in rows[1:]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"a row without a test: {row[:60]}"
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
