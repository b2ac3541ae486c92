"""The brain against a world that goes wrong. A failure prints a story that can be replayed.

`HYPOTHESIS_PROFILE=soak` goes on for longer, with other stories each time.
"""

import os

from hypothesis import settings
from tests.simulation.machine import JobMachine

from kerasjob_core.plan import Plan

TestJob = JobMachine.TestCase
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
TestJob.settings = settings(
    settings.get_profile(PROFILE),
    max_examples=2000 if PROFILE == "ci" else settings.get_profile(PROFILE).max_examples,
    stateful_step_count=50,
    report_multiple_bugs=False,
)


def test_the_good_path_writes_little():
    """The base, N pods, and status when it is pinned, has a ring, runs, has ended; progress apart."""
    machine = JobMachine()
    machine.begin(workers=3, steps=3, max_restarts=0)
    machine.teardown()
    writes = machine.cluster.writes
    assert (writes.count("base"), writes.count("pod"), writes.count("delete")) == (1, 3, 0)
    assert writes.count("status") == 4
    assert machine.world.status.phase == "Succeeded"
    assert machine.one_pass() == Plan()
