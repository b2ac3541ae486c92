"""Every row of the table on two workers, against one plain process."""

import pytest

pytest.importorskip("tensorflow")

from tests.fidelity import rows  # noqa: F401
from tests.fidelity.__main__ import measure
from tests.fidelity.table import FEATURES

import kerasjob_trainer.trainer.main  # noqa: F401


@pytest.mark.parametrize("name", FEATURES)
def test_two_workers_give_what_one_process_gives(name, tmp_path):
    cell = measure(FEATURES[name], "2", tmp_path, {})
    assert cell.holds, f"{FEATURES[name].name}: {cell}\n{cell.failure}"
