"""The files of a program: packed where they have changed, put back as they were, and nothing else touched."""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from kerasjob_trainer import manifests, outputs
from kerasjob_trainer.trainer.session import packing
from kerasjob_trainer.trainer.session.packing import Outputs


@pytest.fixture
def program(tmp_path):
    folder = tmp_path / "program"
    (folder / "data").mkdir(parents=True)
    (folder / "train.py").write_text("print()")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/rows.csv").write_text("1")
    (folder / "data/rows").symlink_to(tmp_path / "elsewhere")
    outputs.remember_staged(folder, tmp_path / "staged.json")
    return folder


@pytest.fixture
def packed(program, tmp_path):
    places = {"program_dir": program, "staged": tmp_path / "staged.json", "archives": tmp_path / "archives"}
    return Outputs(SimpleNamespace(**{name: str(path) for name, path in places.items()}))


def snapshot(packed, folder):
    """A checkpoint's folder with what was packed, by links, as the saver has it."""
    folder.mkdir()
    for file in packed.pack([]):
        (folder / file.name).hardlink_to(file)
    return folder


def contents(folder) -> dict[str, list[str]]:
    found = {}
    for archive in folder.glob("outputs-*.tar"):
        with tarfile.open(archive) as tar:
            found[archive.name] = tar.getnames()
    return found


def test_what_was_made_comes_back_as_it_was(program, packed, tmp_path):
    record = tmp_path / "staged.json"
    assert packed.pack([]) == []
    (program / "log.csv").write_text("epoch\n0\n")
    (program / "out/deep").mkdir(parents=True)
    (program / "out/deep/best.keras").write_bytes(b"best")
    (program / "__pycache__").mkdir()
    (program / "__pycache__/x.pyc").write_bytes(b"")
    checkpoint = snapshot(packed, tmp_path / "one")
    assert contents(checkpoint) == {"outputs-0.tar": ["log.csv", "out/deep/best.keras"]}

    (program / "log.csv").write_text("epoch\n0\n1\n")
    (program / "later.csv").write_text("")
    (program / "out/deep/best.keras").unlink()
    outputs.put_back(program, record, checkpoint)
    assert (program / "log.csv").read_text() == "epoch\n0\n"
    assert (program / "out/deep/best.keras").read_bytes() == b"best"
    assert not (program / "later.csv").exists()
    assert (program / "data/rows/rows.csv").read_text() == "1"

    outputs.put_back(program, record, None)  # from the beginning
    assert sorted(path.name for path in program.rglob("*") if path.is_file()) == ["rows.csv", "train.py", "x.pyc"][1:]


def test_only_what_has_changed_is_packed_again(program, packed, tmp_path):
    expected = {}
    for epoch in range(5):
        (program / f"epoch-{epoch}.keras").write_text(f"model {epoch}")
        (program / "log.csv").write_text("line\n" * (epoch + 1))
        if epoch == 3:
            (program / "epoch-1.keras").unlink()
        checkpoint = snapshot(packed, tmp_path / str(epoch))
        expected[checkpoint] = {p.name: p.read_text() for p in program.iterdir() if p.suffix in (".keras", ".csv")}
    newest = contents(tmp_path / "4")
    assert newest["outputs-4.tar"] == ["epoch-4.keras", "log.csv"]
    assert "outputs-1.tar" not in newest, "all that was in it is gone, or newer elsewhere"
    shared = tmp_path / "3" / "outputs-0.tar", tmp_path / "4" / "outputs-0.tar"
    assert shared[0].stat().st_ino == shared[1].stat().st_ino
    shutil.rmtree(tmp_path / "archives")
    for checkpoint, files in expected.items():
        outputs.put_back(program, tmp_path / "staged.json", checkpoint)
        assert {p.name: p.read_text() for p in program.iterdir() if p.suffix in (".keras", ".csv")} == files


def test_where_nothing_has_changed_nothing_is_packed(program, packed, tmp_path):
    (program / "log.csv").write_text("epoch\n")
    first, second = snapshot(packed, tmp_path / "one"), snapshot(packed, tmp_path / "two")
    assert contents(first) == contents(second) == {"outputs-0.tar": ["log.csv"]}


def test_archives_are_few_and_mostly_in_use(program, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SLACK_BYTES", 0)
    for step in range(60):
        (program / f"{step}.keras").write_bytes(b"x" * 20_000)
        checkpoint = snapshot(packed, tmp_path / str(step))
        assert len(contents(checkpoint)) <= packing.ARCHIVES_MAX + 1
    (program / "small.csv").write_text("1")
    for step in range(58):
        (program / f"{step}.keras").unlink()
    checkpoint = snapshot(packed, tmp_path / "last")
    held = sum(file.stat().st_size for file in checkpoint.iterdir())
    assert held < 4 * 40_000
    assert {file.name for file in (tmp_path / "archives").iterdir()} == {file.name for file in checkpoint.iterdir()}


def test_an_archive_is_hashed_once(program, packed, tmp_path, monkeypatch):
    (program / "model.keras").write_text("model")
    first = snapshot(packed, tmp_path / "one")
    record = manifests.file_record("outputs-0.tar", first / "outputs-0.tar")
    (program / "log.csv").write_text("1")
    second = snapshot(packed, tmp_path / "two")
    read = []
    monkeypatch.setattr(manifests, "sha256", lambda path: read.append(path.name) or "0")
    assert manifests.file_record("outputs-0.tar", second / "outputs-0.tar") == record
    manifests.file_record("outputs-1.tar", second / "outputs-1.tar")
    manifests.file_record("state.safetensors", second / "outputs-0.tar")
    assert read == ["outputs-1.tar", "outputs-0.tar"]


def test_the_largest_files_are_left_out_first_and_that_is_said_once(program, packed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(outputs, "MAX_BYTES", 10)
    for name, size in (("a", 4), ("b", 9), ("c", 5)):
        (program / name).write_bytes(b"x" * size)
    for name in ("one", "two"):
        assert contents(snapshot(packed, tmp_path / name)) == {"outputs-0.tar": ["a", "c"]}
    assert caplog.text.count("too large: b") == 1


def test_what_a_checkpoint_does_not_hold_stays_as_it_is(program, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "MAX_BYTES", 10)
    (program / "large").write_bytes(b"x" * 11)
    checkpoint = snapshot(packed, tmp_path / "large-alone")
    (program / "log.csv").write_text("0")
    both = snapshot(packed, tmp_path / "both")
    (program / "large").write_text("newer")
    (program / "log.csv").write_text("01")
    (program / "later.csv").write_text("")
    outputs.put_back(program, tmp_path / "staged.json", both)
    made = {path.name: path.read_text() for path in program.iterdir() if path.is_file()}
    assert made == {"large": "newer", "log.csv": "0", "train.py": "print()"}
    outputs.put_back(program, tmp_path / "staged.json", checkpoint)
    assert not (program / "log.csv").exists()
    assert (program / "large").read_text() == "newer"


def test_what_goes_while_it_is_packed_is_not_there_and_the_rest_is_held(program, packed, tmp_path, monkeypatch):
    for name in ("going", "log.csv"):
        (program / name).write_text(name)
    without_the_largest = outputs.without_the_largest

    def meanwhile(sizes):
        (program / "going").unlink()
        return without_the_largest(sizes)

    monkeypatch.setattr(outputs, "without_the_largest", meanwhile)
    checkpoint = snapshot(packed, tmp_path / "one")
    assert contents(checkpoint) == {"outputs-0.tar": ["log.csv"]}
    (program / "going").write_text("again")
    outputs.put_back(program, tmp_path / "staged.json", checkpoint)
    assert sorted(path.name for path in program.iterdir() if path.is_file()) == ["log.csv", "train.py"]


def forbid(path, monkeypatch):
    """A file that cannot be read. Root may read all: for it the refusal is made."""
    path.chmod(0)
    if os.geteuid() == 0:
        may_open = Path.open

        def refuse(self, *arguments, **options):
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return may_open(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)


def test_what_cannot_be_read_stays(program, packed, tmp_path, monkeypatch, caplog):
    (program / "log.csv").write_text("0")
    (program / "secret").write_text("secret")
    forbid(program / "secret", monkeypatch)
    for name in ("one", "two"):
        assert list(contents(snapshot(packed, tmp_path / name)).values()) == [["log.csv"]]
    assert caplog.text.count("not readable: secret") == 1
    outputs.put_back(program, tmp_path / "staged.json", tmp_path / "two")
    assert (program / "secret").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is a mounted one, which takes root")
def test_where_files_could_not_be_packed_they_all_stay(program, packed, tmp_path):
    """What is not known is not taken for nothing."""
    archives = tmp_path / "archives"
    archives.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(archives)], check=True)
    try:
        (program / "model.keras").write_bytes(bytes(200_000))
        checkpoint = tmp_path / "one"
        checkpoint.mkdir()
        for file in packed.pack([]):
            shutil.copyfile(file, checkpoint / file.name)
    finally:
        subprocess.run(["umount", str(archives)], check=True)
    outputs.put_back(program, tmp_path / "staged.json", checkpoint)
    assert (program / "model.keras").exists()
    (program / "model.keras").write_text("small")
    assert list(contents(snapshot(packed, tmp_path / "two")).values()) == [["model.keras"]]


def test_a_file_of_two_names_comes_back_by_both(program, packed, tmp_path):
    (program / "best.keras").write_text("best")
    (program / "newest.keras").hardlink_to(program / "best.keras")
    checkpoint = snapshot(packed, tmp_path / "one")
    outputs.put_back(program, tmp_path / "staged.json", checkpoint)
    assert (program / "best.keras").read_text() == (program / "newest.keras").read_text() == "best"


@pytest.mark.parametrize("name", ["../escaped", "data/../../escaped", "train.py", "data/../train.py"])
def test_an_archive_changes_neither_the_program_nor_what_is_elsewhere(name, program, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(checkpoint / "outputs-0.tar", "w") as tar:
        tar.add(tmp_path / "evil", name)
    (checkpoint / outputs.INDEX).write_text(json.dumps({name: "outputs-0.tar"}))
    with pytest.raises(ValueError, match="is no file of the program's directory"):
        outputs.put_back(program, tmp_path / "staged.json", checkpoint)
    assert not (tmp_path / "escaped").exists()
    assert (program / "train.py").read_text() == "print()"
