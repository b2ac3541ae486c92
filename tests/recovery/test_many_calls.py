"""A loop with many calls of `fit` goes on as well, with a bounded number of states kept."""

import json
import os
import signal

from tests.trainer.harness import Gates

from kerasjob_trainer.trainer.session.models import CALLS_KEPT, MODELS_KEPT

CALLS = 24
AT = "20"


def test_go_on_far_behind_the_states_that_are_kept(job, tmp_path):
    expected = end(job(str(CALLS), program="many_calls.py", workers=1))
    gates = Gates(tmp_path / "gates", AT)
    made = job(str(CALLS), str(gates.folder), program="many_calls.py", workers=1)
    (worker,) = made.start_all()
    made.form()
    interrupt(made, gates, worker)
    worker.wait_for_state("lost")
    made.form()
    assert end(made, started=True) == expected
    log = (worker.folder / "log").read_text()
    assert log.count("fit call 1 is finished") == 1
    # The best model was found in a round whose state is gone: its file is not written over by another.
    assert "best.weights.h5: left as it is" in log
    manifests = [json.loads(path.read_text()) for path in (made.store / "manifests").iterdir()]
    assert len(manifests) <= CALLS_KEPT + MODELS_KEPT + 3
    # A finished call costs less than its random states would, of 10 kB in all: few of them change in a call.
    sizes = [file["bytes"] for manifest in manifests for file in manifest["files"] if file["name"] == "session.json"]
    assert max(sizes) < 4_000 * CALLS


def test_without_a_store_the_last_state_of_each_model_is_held(job, tmp_path):
    expected = said(end_all(job("5", program="many_calls.py", workers=2, config={"checkpoint": None})))
    moments = ("1", "3")
    gates = Gates(tmp_path / "gates", *moments)
    made = job("5", str(gates.folder), program="many_calls.py", workers=2, config={"checkpoint": None})
    made.start_all()
    for moment in moments:
        made.form()
        interrupt(made, gates, made.live[1], moment)
        for worker in made.live.values():
            worker.wait_for_state("lost")
    made.form()
    end_all(made, started=True)
    assert said(made) == expected
    log = (made.live[0].folder / "log").read_text()
    assert log.count("(of what worker") == len(moments)


def interrupt(made, gates, worker, moment=AT):
    gates.wait_for(moment, made)
    (pid,) = worker.trainer_pids()
    os.kill(pid, signal.SIGKILL)
    gates.open(moment)


def end(made, *, started=False):
    if not started:
        made.start_all()
        made.form()
    made.finish()
    return said(made), json.loads((made.store / "done.json").read_text())["histories"]


def end_all(made, *, started=False):
    if not started:
        made.start_all()
        made.form()
    for worker in made.live.values():
        assert worker.wait_for_end() == 0, worker.log()
    return made


def said(made) -> dict[str, str]:
    """The last word of each round and at the end; also those that were skipped say it again."""
    lines = (made.live[0].folder / "log").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith(("round ", "teacher ", "best "))]
    return {" ".join(line[: 2 if line[0] == "round" else 1]): " ".join(line) for line in words}
