"""TensorBoard beside a job: what the program writes goes to the store, and from there to a TensorBoard, as it grows."""

import json
import os
import subprocess
import sys
import textwrap
import urllib.parse
import urllib.request
from dataclasses import replace

import pytest
from tests.trainer.harness import EPOCH_GATE, Gates, eventually, free_ports

from kerasjob_api.wire import ProgramConfig, WorkerConfig
from kerasjob_trainer.board import bring
from kerasjob_trainer.event_files import EventFiles
from kerasjob_trainer.settings import Settings
from kerasjob_trainer.store import Entry
from kerasjob_trainer.store.directory import DirectoryStore

NAME = "events.out.tfevents.1.host.2.0.v2"


@pytest.fixture
def settings(tmp_path):
    # Without a thread of its own: the tests say when.
    config = WorkerConfig("default", "job", "uid", 1, 7, ProgramConfig(script="train.py"))
    found = Settings(config, 0, 0, "127.0.0.1", 1, tmp_path / "work", "", tmp_path, tmp_path, tmp_path)
    found.program_dir.mkdir(parents=True)
    return found


@pytest.fixture
def mirror(settings, tmp_path):
    files = EventFiles(settings, lambda: 1)
    return lambda: files._mirror(str(tmp_path / "store"), 1)


def stored(tmp_path) -> dict[str, str]:
    root = tmp_path / "store"
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_what_grows_is_stored_again_and_what_is_gone_goes(settings, mirror, tmp_path):
    train = settings.program_dir / "logs" / "train"
    train.mkdir(parents=True)
    (train / NAME).write_text("one")
    (train / "other.txt").write_text("no event file")
    mirror()
    assert stored(tmp_path) == {f"logs/train/{NAME}": "one"}
    (train / NAME).write_text("one, two")
    mirror()
    assert stored(tmp_path) == {f"logs/train/{NAME}": "one, two"}
    (train / NAME).rename(train / f"{NAME}.of-another-leader")
    mirror()
    assert stored(tmp_path) == {f"logs/train/{NAME}.of-another-leader": "one, two"}


def test_links_to_data_are_not_followed(settings, mirror, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / NAME).write_text("not the program's")
    (settings.program_dir / "data").symlink_to(tmp_path / "data")
    mirror()
    assert not (tmp_path / "store").exists()


def test_a_store_that_says_no_ends_nothing_and_is_said_once(settings, caplog):
    (settings.program_dir / NAME).write_text("one")
    files = EventFiles(replace(settings, config=replace(settings.config, events_uri="gs://bucket/x")), lambda: None)
    files.mirror(1)
    files.mirror(1)
    assert caplog.text.count("event files are not stored for TensorBoard: gs://bucket/x: this kind of store") == 1


class Keys(DirectoryStore):
    """Whose objects have names that a directory cannot have."""

    def entries(self, prefix):
        return [*super().entries(prefix), Entry("../outside", 1), Entry("/etc/outside", 1)]


def test_a_file_is_grown_in_place_and_none_leaves_the_folder(tmp_path):
    store, folder = Keys(tmp_path / "store"), tmp_path / "here" / "board"
    folder.mkdir(parents=True)
    file = tmp_path / "file"
    file.write_text("one")
    store.put_file(f"train/{NAME}", file)
    bring(store, folder)
    here = folder / "train" / NAME
    with here.open() as opened:  # as TensorBoard has it
        assert opened.read() == "one"
        file.write_text("one, two")
        store.put_file(f"train/{NAME}", file)
        bring(store, folder)
        assert opened.read() == ", two"
    file.write_text("1")  # cut, where the program went back to an earlier step
    store.put_file(f"train/{NAME}", file)
    bring(store, folder)
    assert here.read_text() == "1"
    store.delete([f"train/{NAME}"])
    bring(store, folder)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "store" not in p.parts] == [file]


PROGRAM = EPOCH_GATE + textwrap.dedent("""
    import keras, numpy as np

    x = np.ones((8, 2), "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], epochs=4, verbose=0, callbacks=[Gate(), keras.callbacks.TensorBoard("logs")])
""")


def test_a_scalar_of_a_job_that_trains_is_shown(job, tmp_path):
    gates = Gates(tmp_path / "gates", "epoch-3")
    where = str(tmp_path / "events")
    program = {"source": PROGRAM, "args": [str(gates.folder)]}
    made = job(program=program, workers=1, config={"eventsUri": f"{where}/"})
    (worker,) = made.start_all()
    made.form()
    gates.wait_for("epoch-3", made)
    (port,) = free_ports(1)
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {
        "KERASJOB_CONFIG": str(worker.folder / "worker.json"), "TMPDIR": str(tmp_path / "tmp")
    }  # fmt: skip
    command = [sys.executable, "-m", "kerasjob_trainer.board", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as board:
        try:
            eventually(lambda: len(scalars(port)) >= 3, "three epochs are shown", 60)
            gates.open("epoch-3")
            assert worker.wait_for_end() == 0
            eventually(lambda: len(scalars(port)) == 4, "the last epoch is shown", 60)
        finally:
            board.terminate()
    assert board.returncode == 0
    assert not list((tmp_path / "tmp").glob("tensorboard-*")), "what was brought here has gone"


def scalars(port: int) -> list:
    """What TensorBoard knows of the loss of each epoch."""
    query = urllib.parse.urlencode({"run": "logs/train", "tag": "epoch_loss"})
    try:
        url = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?{query}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return []


def test_a_job_without_event_files_has_nothing_to_show(job):
    worker = job(program={"source": "print(1)"}, workers=1).start(0)
    environment = os.environ | {"KERASJOB_CONFIG": str(worker.folder / "worker.json")}
    run = subprocess.run(
        [sys.executable, "-m", "kerasjob_trainer.board"], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "the job has no spec.tensorBoard" in run.stderr
