"""A job goes on with fewer workers than it began with, and takes in those that come back: the result is that of an
undisturbed run within float rounding, and no step is lost."""

import os
import re

import numpy as np
import pytest
from tests.recovery.results import final_state, record
from tests.trainer.harness import Gates, histories

# Sums of gradients in another order, over some thirty steps of Adam, which divides by small numbers.
TOLERANCE = 2e-5
FEATURES = ("numpy", "tf.data", "augmentation", "embedding", "batch normalization", "gan", "steps per execution")

# Which worker is lost: with each feature one of them, all in `make soak`.
CELLS = [(feature, number % 2) for number, feature in enumerate(FEATURES)]
if os.environ.get("KERASJOB_WHOLE_MATRIX"):
    CELLS = [(feature, lost) for feature in FEATURES for lost in (0, 1)]


@pytest.mark.parametrize(("feature", "lost"), CELLS)
def test_with_one_and_again_with_two(feature, lost, job, tmp_path, undisturbed_job):
    expected = undisturbed_job(feature)
    gates = Gates(tmp_path / "gates", "0-1-4", "0-2-0")
    made = job(feature, str(gates.folder), every_steps=None)
    made.start_all()
    made.form()
    gates.wait_for("0-1-4", made)
    left = made.live[1 - lost]
    made.live.pop(lost).kill()
    gates.open("0-1-4")
    left.wait_for_state("lost")
    made.form()  # with one
    gates.wait_for("0-2-0", made)
    back = made.start(lost, incarnation=1)
    back.wait_for(lambda r: r["state"] != "staging", "ready")
    made.live = dict(sorted(made.live.items()))
    made.form(after_step=True)
    gates.open("0-2-0")
    made.finish()
    log = (left.folder / "log").read_text()
    assert "saved with 2, goes on with 1;" in log
    assert "saved with 1, goes on with 2;" in log
    assert_no_step_lost(log, feature)
    assert_close(made, expected)


def assert_no_step_lost(log: str, feature: str) -> None:
    first, second = (int(step) for step in re.findall(r"goes on from checkpoint (\d+)\.", log))
    width = 8 if feature == "steps per execution" else 6  # of an epoch, as Keras counts
    assert first >= width + 4
    assert second >= 2 * width


def assert_close(made, expected) -> None:
    for found, wanted in zip(histories(record(made)), histories(record(expected)), strict=True):
        assert_all_close(found, wanted)
    assert_all_close(final_state(made), final_state(expected))


def assert_all_close(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)
