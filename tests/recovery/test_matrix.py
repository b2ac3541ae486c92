"""Two workers, of which one or both are ended in some way at some moment: the job ends as the undisturbed one does, bit
for bit, and where a worker is left, no step is lost."""

import itertools
import os
import re
import signal

import pytest
from tests.recovery.results import result
from tests.trainer.harness import Gates, Job, Worker, eventually

# All workers frozen at once: only the watchdog can tell. It must wait for a first step, on a busy machine too.
STALL_SECONDS = 12

HOW = ("SIGKILL", "SIGTERM", "SIGSTOP")
WHO = {"chief": (0,), "other": (1,), "all": (0, 1)}
# As `program.py` names them.
MOMENTS = {
    "first step": "0-0-0",
    "mid-epoch": "0-1-4",
    "at a save": "0-1-0",
    "validation": "0-1-v0",
    "between": "between",
}
FEATURES = ("numpy", "tf.data", "augmentation", "embedding", "batch normalization", "gan", "steps per execution")
# What a program does outside of a `fit` may take any time: all workers frozen there are not told from all at work.
ALL = [cell for cell in itertools.product(HOW, WHO, MOMENTS, FEATURES) if cell[:3] != ("SIGSTOP", "all", "between")]


def pairwise(cells: list[tuple]) -> list[tuple]:
    """Some of the cells, in which every two values of two factors meet."""
    missing = {pair for cell in cells for pair in itertools.combinations(enumerate(cell), 2)}
    found = []
    while missing:
        best = max(cells, key=lambda cell: len(missing & set(itertools.combinations(enumerate(cell), 2))))
        found.append(best)
        missing -= set(itertools.combinations(enumerate(best), 2))
    return found


CELLS = ALL if os.environ.get("KERASJOB_WHOLE_MATRIX") else pairwise(ALL)


@pytest.mark.parametrize(("how", "who", "moment", "feature"), CELLS, ids=["-".join(cell) for cell in CELLS])
def test_cell(how, who, moment, feature, job, tmp_path, undisturbed):
    expected = undisturbed(feature)
    gates = Gates(tmp_path / "gates", MOMENTS[moment])
    watched = {"stallTimeoutSeconds": STALL_SECONDS} if (how, who) == ("SIGSTOP", "all") else {}
    made = job(feature, str(gates.folder), every_steps=None, config=watched)
    made.start_all()
    made.form()
    gates.wait_for(MOMENTS[moment], made)
    victims = [made.live[slot] for slot in WHO[who]]
    for worker in victims:
        harm(worker, how)
    gates.open(MOMENTS[moment])
    settle(made, victims, how)
    made.form()
    made.finish()
    found = result(made)
    for part in expected:
        assert found[part] == expected[part], part
    if who != "all" and moment != "first step":
        assert_no_step_lost(made, MOMENTS[moment], feature)


def harm(worker: Worker, how: str) -> None:
    if how == "SIGTERM":  # as the kubelet does, to the first process of the pod
        worker.process.terminate()
        eventually(lambda: "is told to stop" in worker.log(), "the agent is told to stop")
    else:
        (pid,) = worker.trainer_pids()
        os.kill(pid, getattr(signal, how))


def settle(job: Job, victims: list[Worker], how: str) -> None:
    """As the operator does: waits until all survivors have noticed, and replaces workers that have ended."""
    for slot, worker in list(job.live.items()):
        if how == "SIGTERM" and worker in victims:
            assert worker.wait_for_end() == 30, worker.log()
            job.start(slot, incarnation=worker.incarnation + 1)
    for worker in job.live.values():
        if worker in job.started[: job.workers] and not (how == "SIGSTOP" and worker in victims and len(victims) == 1):
            worker.wait_for_state("lost")


def assert_no_step_lost(job: Job, moment: str, feature: str) -> None:
    """The second ring went on from the step before the gate, or after it."""
    texts = [(worker.folder / "log").read_text() for worker in job.live.values()]
    steps = {int(step) for text in texts for step in re.findall(r"goes on from checkpoint (\d+)\.", text)}
    width = 8 if feature == "steps per execution" else 6  # of an epoch, as Keras counts
    done = {"0-1-0": width, "0-1-4": width + 4, "0-1-v0": 2 * width, "between": 3 * width}[moment]
    assert len(steps) == 1, steps
    assert done <= steps.pop() <= done + 4
