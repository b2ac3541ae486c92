"""The command: exit codes, status, version, what the package offers."""

import subprocess
import sys

import pytest
from tests.unit.client.conftest import job_file

import kerasjob
from kerasjob import cli
from kerasjob.local.state import JobDir

FOREIGN = ("tensorflow", "keras", "aiohttp", "kopf", "kerasjob_trainer")


def test_what_the_package_offers():
    assert sorted(kerasjob.__all__) == kerasjob.__all__
    assert all(hasattr(kerasjob, name) for name in kerasjob.__all__)


def test_it_never_imports_what_runs_in_workers():
    code = f"import kerasjob.cli, sys; print([m for m in sys.modules if m.split('.')[0] in {FOREIGN}])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_bad_input_is_2_with_all_faults(folder, tmp_path, capsys):
    path = job_file(folder, data=[{"uri": "s3://bucket/x/", "path": "/data"}], program={"script": "nothing.py"})
    assert cli.main(["run", str(path), "--state", str(tmp_path / "state")]) == 2
    shown = capsys.readouterr().err
    assert "spec.program.script: there is no nothing.py in" in shown
    assert "spec.data[0].uri: s3://bucket/x/ is the directory" in shown


def test_a_map_that_is_none_is_2(folder, tmp_path, capsys):
    assert cli.main(["run", str(job_file(folder)), "--state", str(tmp_path), "--map", "x=y"]) == 2
    assert "--map: expected s3://BUCKET/PREFIX=DIR, got 'x=y'" in capsys.readouterr().err


def test_status_lists_jobs_and_shows_one(folder, run, tmp_path, capsys):
    run(job_file(folder, workers=2))
    state = str(tmp_path / "state")
    assert cli.main(["status", "--state", state]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAME", "PHASE", "WORKERS"]
    assert row.split() == ["tiny", "Succeeded", "0/2", "1/1", "10/10", "0.0909", "0"]
    assert cli.main(["status", "tiny", "--state", state]) == 0
    assert '"phase": "Succeeded"' in capsys.readouterr().out
    assert cli.main(["status", "other", "--state", state]) == 2
    assert "no job 'other' here; known: tiny" in capsys.readouterr().err


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """A kubectl that answers as a test says, and remembers what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    said = folder / "said"

    def make(script: str):
        (folder / "kubectl").write_text(f'#!/bin/sh\nprintf "%s " "$@" >> {said}; echo >> {said}\n{script}\n')
        (folder / "kubectl").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        return lambda: [line.strip() for line in said.read_text().splitlines()]

    return make


def test_checkpoints_of_a_job_that_has_not_begun(folder, tmp_path, capsys):
    JobDir(tmp_path, "tiny").create(kerasjob.load(job_file(folder)), 0)
    assert cli.main(["checkpoints", "tiny", "--state", str(tmp_path)]) == 2
    assert "the job has not begun yet" in capsys.readouterr().err


NOT_FOUND = 'Error from server (NotFound): services "other-tensorboard" not found'


@pytest.mark.parametrize("command", ["checkpoints", "tensorboard"])
def test_a_job_that_is_neither_here_nor_on_a_cluster(command, folder, tmp_path, monkeypatch, kubectl, capsys):
    JobDir(tmp_path, "tiny").create(kerasjob.load(job_file(folder)), 0)
    here = "no job of this name was run here (known: tiny), and on a cluster: "
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert cli.main([command, "other", "--state", str(tmp_path)]) == 2
    assert f"{here}there is no kubectl to ask a cluster with" in capsys.readouterr().err
    kubectl(f"echo 'E1126 memcache.go:265] \"Unhandled Error\"' >&2; echo '{NOT_FOUND}' >&2; exit 1")
    assert cli.main([command, "other", "--state", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip() == f"other: {here}kubectl says: {NOT_FOUND}"
    assert cli.main([command, "other", "-n", "team", "--state", str(tmp_path)]) == 2
    assert capsys.readouterr().err.strip() == f"other: kubectl says: {NOT_FOUND}"


def test_a_worker_that_runs_is_asked_for_checkpoints(tmp_path, kubectl):
    asked = kubectl("[ $3 = get ] && echo pod/mnist-1-0; exit 0")
    assert cli.main(["checkpoints", "mnist", "-n", "team", "--json", "--state", str(tmp_path)]) == 0
    first, second = asked()
    assert first.startswith("--namespace team get pods --selector=kerasjob.dev/job=mnist")
    inside = "exec pod/mnist-1-0 --container=trainer -- python -m kerasjob_trainer.listing --json"
    assert second == f"--namespace team {inside}"


def test_where_no_worker_runs_the_store_is_read_from_here(folder, run, tmp_path, monkeypatch, kubectl, capfd):
    run(job_file(folder, workers=1, checkpoint={"uri": "s3://bucket/c/"}))
    (config,) = (tmp_path / "state").glob("jobs/tiny/workers/*/worker.json")
    kubectl(f'[ "$2" = pods ] || cat {config}')
    assert cli.main(["checkpoints", "tiny", "--state", str(tmp_path / "none")]) == 0
    out, err = capfd.readouterr()
    assert "no worker of tiny runs" in err
    assert out.splitlines()[0].split()[:3] == ["STEP", "FIT", "EPOCH"]


def test_the_tensorboard_of_a_job_on_a_cluster_is_forwarded_to(tmp_path, kubectl):
    asked = kubectl("[ $3 = get ] || exit 5")
    options = ["tensorboard", "mnist", "-n", "team", "--port", "7000", "--state", str(tmp_path)]
    run = subprocess.run([sys.executable, "-m", "kerasjob.cli", *options], capture_output=True, text=True)
    assert asked()[1:] == ["--namespace team port-forward service/mnist-tensorboard 7000:6006"]
    assert "http://localhost:7000" in run.stdout
    assert run.returncode == 5, "it has become kubectl"


def test_status_of_nothing(tmp_path, capsys):
    assert cli.main(["status", "--state", str(tmp_path / "none")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_job_that_nobody_runs_is_shown_as_stopped(folder, tmp_path, capsys):
    directory = JobDir(tmp_path, "tiny")
    directory.create(kerasjob.load(job_file(folder)), 0)
    cli.main(["status", "--state", str(tmp_path)])
    assert "Stopped" in capsys.readouterr().out
    with directory.lock():
        cli.main(["status", "--state", str(tmp_path)])
        assert "Pending" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
