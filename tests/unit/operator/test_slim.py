"""What the store keeps of a job is what it was given, in half the memory."""

import gc
import json
import tracemalloc

from tests.unit.operator.test_job_metrics import a_full_status

from kerasjob_api.spec import KerasJobSpec
from kerasjob_api.status import KerasJobStatus
from kerasjob_operator.slim import slim

SPEC = {"workers": 4, "program": {"script": "train.py"}, "checkpoint": {"uri": "s3://bucket/c/", "keep": {"last": 2}}}
STATUS = a_full_status(
    ring={"revision": 3, "members": [{"slot": i, "incarnation": 0, "host": f"10.0.0.{i}"} for i in range(4)]},
    failures=[{"worker": 1, "reason": "UserError", "message": "x" * 100}] * 3,
)


def status() -> KerasJobStatus:
    return KerasJobStatus.model_validate(json.loads(json.dumps(STATUS)))  # words of its own, as from a server


def test_it_is_equal_and_goes_out_as_it_came_in():
    for kind, data in ((KerasJobSpec, SPEC), (KerasJobStatus, STATUS)):
        one, other = kind.model_validate(data), slim(kind.model_validate(data))
        assert one == other
        assert one.model_dump(by_alias=True) == other.model_dump(by_alias=True)
    changed = slim(status()).model_copy(update={"phase": "Failed"})
    assert (changed.phase, slim(status()).phase) == ("Failed", "Running")
    assert changed != slim(status())


def test_a_copy_does_not_change_what_is_shared():
    slim(status()).model_copy(update={"new": 1})
    assert "new" not in slim(status()).model_fields_set


def test_it_takes_less_than_two_thirds():
    def cost(make) -> int:
        gc.collect()
        tracemalloc.start()
        kept = [make() for _ in range(100)]
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del kept
        return used

    assert cost(lambda: slim(status())) < 0.66 * cost(status)
