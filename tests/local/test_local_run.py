"""`kerasjob run` as users have it: real agents, TensorFlow in two processes, no cluster."""

import json
import os
import signal
import subprocess
import sys
import time

BROKEN = "import keras\n\n\ndef load():\n    raise ValueError('no digits here')\n\n\nload()\n"


def test_a_run_that_is_stopped_and_goes_on_ends_as_one_that_was_not(kerasjob):
    kerasjob.write()
    code, shown = kerasjob.run("--state", "undisturbed")
    assert code == 0, shown
    assert shown.count("the program is at its end") == 1, "only the leader's output is shown"

    kerasjob.write(args=("0.5",))
    process = kerasjob.start()
    kerasjob.until(lambda job: job["status"].get("checkpoint", {}).get("step", 0) >= 8)
    os.kill(process.pid, signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "last checkpoint: step" in shown
    assert "to go on: kerasjob run job.yaml" in shown
    assert kerasjob.agents() == [], "no worker outlives the command"
    uid = kerasjob.state()["metadata"]["uid"]

    code, shown = kerasjob.run()
    assert code == 0, shown
    assert "Epoch 1/6" not in shown, "it went on where it was"
    assert kerasjob.state()["metadata"]["uid"] == uid
    assert kerasjob.losses() == kerasjob.losses("undisturbed"), "bit for bit"

    code, shown = kerasjob.run()
    assert code == 0
    assert "has succeeded already" in shown


LOADS = """
import json, sys
import keras, numpy as np
x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.models.load_model(sys.argv[1])
print(json.dumps(model.evaluate(x, y, batch_size=64, verbose=0)))
print(model.optimizer.iterations.numpy())
"""


def test_what_stays_for_good_is_listed_and_plain_keras_loads_it(kerasjob, tmp_path):
    keep = {"last": 1, "everyEpochs": 2, "best": {"metric": "loss"}}
    kerasjob.write(workers=2, checkpoint={"uri": "s3://bucket/saved/", "keep": keep})
    code, shown = kerasjob.run()
    assert code == 0, shown
    table = kerasjob.call("checkpoints", "tiny")
    assert table.splitlines()[0].split() == ["STEP", "FIT", "EPOCH", "SAVED", "SIZE", "METRICS", "KEPT", "AS", "WHERE"]
    listed = json.loads(kerasjob.call("checkpoints", "tiny", "--json"))
    assert {entry["step"]: entry["why"] for entry in listed} == {
        24: ["last", "every 2 epochs", "best loss"],
        16: ["every 2 epochs"],
        8: ["every 2 epochs"],
    }
    for entry in listed:
        done = subprocess.run([sys.executable, "-c", LOADS, entry["keras"]], capture_output=True, text=True, check=True)
        loss, steps = done.stdout.split()
        assert int(steps) == entry["step"]
        # At the end of the epoch, not over it; so it is no more than the epoch's mean, for a loss that falls.
        assert 0 < float(loss) < entry["metrics"]["loss"]


def test_a_metric_that_is_not_there_is_named_with_those_that_are(kerasjob):
    kerasjob.write(workers=1, checkpoint={"uri": "s3://bucket/saved/", "keep": {"best": {"metric": "val_los"}}})
    code, _ = kerasjob.run()
    assert code == 0
    log = (kerasjob.folder / ".kerasjob/jobs/tiny/workers/0-0.log").read_text()
    assert log.count("`fit` shows no 'val_los', so nothing is the best: loss") == 1


def test_the_users_error_is_named_with_its_line(kerasjob):
    kerasjob.write(BROKEN, workers=1)
    code, shown = kerasjob.run()
    assert code == 1
    assert "UserError: ValueError: no digits here (train.py:5)" in shown
    assert "workers/0-0.log" in shown
    assert kerasjob.agents() == []


def test_killed_itself_it_leaves_no_worker(kerasjob):
    kerasjob.write()
    process = kerasjob.start()
    kerasjob.until(lambda job: len(kerasjob.agents()) >= 2)
    process.kill()
    process.communicate(timeout=30)
    wait_for_none(kerasjob.agents)
    assert kerasjob.state()["status"]["phase"] == "Pending"


def wait_for_none(processes):
    end = time.monotonic() + 10
    while processes():
        assert time.monotonic() < end, processes()
        time.sleep(0.1)
