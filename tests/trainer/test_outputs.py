"""The files of a program: packed, put back as they were, and nothing else touched."""

import tarfile

import pytest

from kerasjob_trainer import outputs


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


def test_what_was_made_comes_back_as_it_was(program, tmp_path):
    record, archive = tmp_path / "staged.json", tmp_path / "outputs.tar"
    assert not outputs.pack(program, record, archive)
    (program / "log.csv").write_text("epoch\n0\n")
    (program / "out/deep").mkdir(parents=True)
    (program / "out/deep/best.keras").write_bytes(b"best")
    (program / "__pycache__").mkdir()
    (program / "__pycache__/x.pyc").write_bytes(b"")
    assert outputs.pack(program, record, archive)
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["log.csv", "out/deep/best.keras"]

    (program / "log.csv").write_text("epoch\n0\n1\n")
    (program / "later.csv").write_text("")
    (program / "out/deep/best.keras").unlink()
    outputs.put_back(program, record, archive)
    assert (program / "log.csv").read_text() == "epoch\n0\n"
    assert (program / "out/deep/best.keras").read_bytes() == b"best"
    assert not (program / "later.csv").exists()
    assert (program / "data/rows/rows.csv").read_text() == "1"

    outputs.put_back(program, record, None)  # from the beginning
    assert sorted(path.name for path in program.rglob("*") if path.is_file()) == ["rows.csv", "train.py", "x.pyc"][1:]


def test_the_largest_files_are_left_out_first(program, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "MAX_BYTES", 10)
    for name, size in (("a", 4), ("b", 9), ("c", 5)):
        (program / name).write_bytes(b"x" * size)
    assert outputs.pack(program, tmp_path / "staged.json", tmp_path / "outputs.tar")
    with tarfile.open(tmp_path / "outputs.tar") as tar:
        assert tar.getnames() == ["a", "c"]


def test_an_archive_does_not_leave_the_directory(program, tmp_path):
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "outputs.tar", "w") as tar:
        tar.add(tmp_path / "evil", "../escaped")
    with pytest.raises(ValueError, match="escaped"):
        outputs.put_back(program, tmp_path / "staged.json", tmp_path / "outputs.tar")
    assert not (tmp_path / "escaped").exists()
