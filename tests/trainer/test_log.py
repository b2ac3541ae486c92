"""Every line of ours says whose it is, and where the program was."""

import json
import logging

import pytest

from kerasjob_trainer import log as logs


@pytest.fixture
def setup(monkeypatch):
    before = logs.log.handlers[:], logs.log.level, logs.log.propagate

    def make(form, *speaker):
        monkeypatch.setenv("KERASJOB_LOG_FORMAT", form)
        logs.setup("mnist", *speaker)

    yield make
    logs.log.handlers[:], logs.log.propagate = before[0], before[2]
    logs.log.setLevel(before[1])


def test_as_text(setup, capsys):
    setup("text", 3, "trainer", 2)
    logs.set_step(lambda: 41)
    logs.log.info("saved %d", 5)
    logs.set_revision(4)
    logs.log.warning("late")
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "kerasjob trainer job=mnist worker=3 ring=2 step=41 saved 5",
        "kerasjob trainer job=mnist worker=3 ring=4 step=41 warning: late",
    ]
    assert not out, "standard output is the program's"


def test_as_json(setup, capsys):
    setup("json", 3, "trainer", 2)
    logs.set_step(lambda: 41)
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        logs.log.exception("failed: é")
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["job"], said["worker"], said["ring"], said["step"]) == ("mnist", 3, 2, 41)
    assert (said["level"], said["logger"], said["message"]) == ("ERROR", "kerasjob.trainer", "failed: é")
    assert "ValueError: bad\nvalue" in said["traceback"]


def test_what_is_no_worker_has_no_step(setup, capsys):
    setup("text", None, "tensorboard", None)
    logs.log.log(logging.INFO, "serves")
    assert capsys.readouterr().err == "kerasjob tensorboard job=mnist serves\n"
