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


@pytest.mark.parametrize(("workers", "devices"), [(1, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("name", ["numpy_fit", "batch_normalization", "dropout", "gan"])
def test_several_devices_in_one_worker_and_workers_that_divide_nothing(name, workers, devices, tmp_path):
    cell = measure(FEATURES[name], f"{workers}x{devices}", tmp_path, {})
    assert cell.holds, f"{FEATURES[name].name}: {cell}\n{cell.failure}"
