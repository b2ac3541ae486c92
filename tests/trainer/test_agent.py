"""The agent before any training: its protocol, what it says of bad input, how it ends. None waits for TensorFlow."""

import signal

import pytest
from tests.trainer.harness import TOKEN, eventually


def problem_of(worker) -> str:
    report = worker.wait_for(lambda r: r["problem"] is not None, "a problem", 20)
    assert report["state"] == "staging"
    assert report["problem"]["reason"] == "StorageError"
    status, body = worker.ask("GET", "/readyz", token=None)
    assert status == 503
    assert report["problem"]["message"] in body.decode()
    return report["problem"]["message"]


def serves(worker) -> bool:
    return bool(worker.report())


def test_protocol(job):
    made = job()
    worker = made.start(0)
    eventually(lambda: serves(worker), "the agent serves", 10)
    assert worker.ask("GET", "/healthz", token=None)[0] == 200
    assert worker.ask("GET", "/readyz", token=None)[0] == 503
    assert worker.ask("GET", "/v1/status", token=None)[0] == 401
    assert worker.ask("GET", "/v1/status", token=TOKEN + "x")[0] == 401
    assert worker.ask("PUT", "/v1/ring", {}, token=None)[0] == 401
    assert worker.ask("PUT", "/v1/ring", {"revision": 1})[0] == 400
    assert worker.ask("PUT", "/v1/ring", {"job": "x" * 300_000})[0] == 413
    assert worker.ask("GET", "/nowhere")[0] == 404
    assert worker.ask("GET", "/v1/restore?revision=x")[0] == 400
    assert worker.ask("GET", "/v1/restore?revision=1")[0] == 503  # not decided yet
    assert worker.ask("GET", "/v1/moved?revision=1")[0] == 503  # no trainer yet
    member = {"slot": 0, "incarnation": 0, "host": "127.0.0.1", "agentPort": worker.port, "port": 1}
    ring = {"protocol": 1, "job": made.uid, "revision": 1, "members": [member]}
    assert worker.ask("PUT", "/v1/ring", ring | {"job": "another"})[0] == 403
    assert worker.ask("PUT", "/v1/ring", ring | {"protocol": 2})[0] == 403
    assert worker.ask("PUT", "/v1/ring", ring | {"members": [member | {"incarnation": 1}]})[0] == 403
    assert worker.ask("PUT", "/v1/ring", ring)[0] == 503  # still staging
    assert worker.report() == {
        "protocol": 1, "slot": 0, "incarnation": 0, "revision": 0, "state": "staging", "problem": None,
        "trainerExit": None, "progress": None, "checkpoint": None,
    }  # fmt: skip
    assert worker.ask("POST", "/v1/stop")[0] == 202
    assert worker.wait_for_end(10) == 30
    assert worker.record()["reason"] == "Preempted"


def test_sigterm_before_training_ends_it_as_preempted(job):
    worker = job().start(0)
    eventually(lambda: serves(worker), "the agent serves", 10)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_for_end(10) == 30


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            {"source": "import keras\n\nkeras.utils.set_random_seed(1\nprint(2)\n"},
            {"exceptionType": "SyntaxError", "file": "program.py", "line": 3, "message": "'(' was never closed"},
        ),
        ({"script": "nowhere.py"}, {"message": "program.script nowhere.py does not exist", "file": "nowhere.py"}),
        ({"script": "/app/nowhere.py"}, {"message": "program.script /app/nowhere.py does not exist"}),
        ({"module": "no.such"}, {"message": "program.module no.such: there is no module 'no'"}),
        ({"module": "json"}, {"message": "program.module json is a package without a __main__ module"}),
    ],
)
def test_a_program_that_cannot_run_ends_the_worker_at_once(job, program, expected):
    worker = job(program=program).start(0)
    assert worker.wait_for_end(15) == 11
    record = worker.record()
    assert (record["reason"], record["worker"]) == ("BadProgram", 0)
    assert expected.pop("message") in record["message"]
    assert {key: record[key] for key in expected} == expected


def test_a_job_that_has_ended_well_ends_again_at_once(job):
    made = job()
    made.store.mkdir(parents=True)
    (made.store / "done.json").write_text("{}")
    worker = made.start(0)
    assert worker.wait_for_end(15) == 0
    assert worker.record()["reason"] == "ProgramSucceeded"


def test_data_that_is_not_there_is_a_problem_until_it_comes(job, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    worker = job(config={"data": [{"uri": f"file://{source}/", "path": str(target)}]}).start(0)
    assert "there is no such file or directory" in problem_of(worker)
    (source / "deep").mkdir(parents=True)
    (source / "mnist.npz").write_text("digits")
    (source / "deep" / "other").write_text("x")
    worker.wait_for(lambda r: r["problem"] is None, "the problem is gone", 20)
    linked = worker.folder / "work" / "keras" / "datasets" / "mnist.npz"
    eventually(linked.exists, "the file is linked for keras.datasets", 10)
    assert linked.read_text() == "digits"
    assert (target / "deep" / "other").read_text() == "x"


@pytest.mark.parametrize(
    ("uri", "path", "words"),
    [
        ("/etc/hostname", "/dev/null/x/y", "choose a path that the worker's user may write"),
        ("gs://bucket/x", "/tmp/x", "this kind of store is not supported"),
    ],
)
def test_data_that_cannot_be_staged(job, uri, path, words):
    worker = job(config={"data": [{"uri": uri, "path": path}]}).start(0)
    assert words in problem_of(worker)


def test_an_environment_that_lacks_something_is_named(job):
    made = job()
    made.env = {"KERASJOB_SLOT": "none"}
    worker = made.start(0)
    assert worker.wait_for_end(10) == 1
    assert "the agent's environment is incomplete" in worker.log()
