"""What an agent leaves in the store at its end, where a newer ring may have begun."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerasjob_api.exit_codes import ExitCode
from kerasjob_api.wire import CheckpointConfig, ExportConfig, Member, ProgramConfig, Ring, WorkerConfig
from kerasjob_trainer import termination
from kerasjob_trainer.checkpoints import open_checkpoints
from kerasjob_trainer.endings import Endings
from kerasjob_trainer.event_files import EventFiles
from kerasjob_trainer.run import Outcome, Run, Verdict
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.status import Status

EVENTS = "events.out.tfevents.1.host.2.0.v2"


class Ended(Exception):
    """Instead of the end of the process."""


@pytest.fixture
def settings(tmp_path):
    config = WorkerConfig(
        "default",
        "job",
        "uid",
        1,
        7,
        ProgramConfig(script="train.py"),
        checkpoint=CheckpointConfig(str(tmp_path / "store")),
        export=ExportConfig(str(tmp_path / "models"), "keras"),
    )
    found = Settings(config, 0, 0, "127.0.0.1", 1, tmp_path / "work", "", tmp_path, tmp_path, tmp_path)
    found.program_dir.mkdir(parents=True)
    (found.program_dir / EVENTS).write_text("of the older ring")
    found.exported.mkdir(parents=True)
    (found.exported / "model.keras").write_text("of the older ring")
    return found


@pytest.fixture
def end(settings, tmp_path, monkeypatch):
    """Has the leader of ring revision 1 end well; answers the exit code and the words."""
    monkeypatch.setattr(EventFiles, "_run", lambda self: None)  # the test says when
    ended = []

    def at_end(code, record, path):
        ended.append((code, record.message))
        raise Ended

    monkeypatch.setattr(termination, "end", at_end)
    settings = replace(settings, config=replace(settings.config, events_uri=str(tmp_path / "events")))
    endings = Endings(
        settings,
        Status(0, 0),
        SimpleNamespace(drain=lambda seconds: True),
        EventFiles(settings, lambda: 1),
    )

    def run():
        with pytest.raises(Ended):
            endings._finish(
                Run(Ring("uid", 1, (Member(0, 0, "127.0.0.1", 1, 2),)), 0), Verdict(Outcome.DONE, ExitCode.DONE)
            )
        return ended[-1]

    return run


def stored(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_ring_that_is_over_leaves_no_model_no_record_and_no_event_files(end, settings, tmp_path):
    open_checkpoints(settings).claim(2)
    (tmp_path / "models" / "uid").mkdir(parents=True)
    (tmp_path / "models" / "uid" / "model.keras").write_text("of the newer ring")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.out.tfevents.2.of-the-newer-ring").write_text("newer")
    code, words = end()
    assert (code, "ring revision 1 is over" in words) == (ExitCode.CLUSTER_FAULT, True)
    assert open_checkpoints(settings).done() is None
    assert stored(tmp_path / "models") == {"model.keras": "of the newer ring"}
    assert stored(tmp_path / "events") == {"events.out.tfevents.2.of-the-newer-ring": "newer"}


def test_the_newest_ring_leaves_all(end, settings, tmp_path):
    open_checkpoints(settings).claim(1)
    assert end()[0] == ExitCode.DONE
    assert open_checkpoints(settings).done()["export"] == str(tmp_path / "models" / "uid" / "model.keras")
    assert stored(tmp_path / "models") == {"model.keras": "of the older ring"}
    assert stored(tmp_path / "events") == {EVENTS: "of the older ring"}


def test_a_ring_that_ends_between_model_and_record_records_nothing(end, settings, tmp_path, monkeypatch):
    from kerasjob_trainer import exports

    upload = exports.upload

    def uploaded(*args):
        where = upload(*args)
        open_checkpoints(settings).claim(2)
        return where

    monkeypatch.setattr(exports, "upload", uploaded)
    assert end()[0] == ExitCode.CLUSTER_FAULT
    assert not (Path(open_checkpoints(settings).store.uri) / "done.json").exists()
