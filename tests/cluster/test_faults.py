"""A node whose network is cut: its worker is replaced elsewhere, and the job ends as one that was left alone.

The other faults of `tests.cluster.faults` are measured by its command, into docs/recovery.md; `make soak-faults` has
fifty at random.
"""

import pytest
from tests.cluster import faults

pytestmark = pytest.mark.alone


def test_a_cut_node_costs_no_step_that_anybody_else_had():
    (cost,) = faults.run(["cut"], epochs=12)
    assert (
        cost.steps_lost <= 1
    )  # the worker that is cut off may have heard the last word of a step that the other has not
