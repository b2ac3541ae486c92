"""A job file in a folder of its own, run with agents that have no TensorFlow."""

import io
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from kerasjob import load, run_local

AGENT = (sys.executable, str(Path(__file__).parents[2] / "contract" / "fake_agent.py"))


def job_file(folder, *args, name="tiny", **spec):
    """A KerasJob in a file, with a program beside it."""
    (folder / "train.py").write_text("print('hello')\n")
    path = folder / "job.yaml"
    spec = {"program": {"script": "train.py", "args": list(args)}} | spec
    path.write_text(
        yaml.safe_dump(
            {"apiVersion": "kerasjob.dev/v1alpha1", "kind": "KerasJob", "metadata": {"name": name}, "spec": spec}
        )
    )
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


@pytest.fixture
def run(tmp_path):
    """Runs a file; answers the result and what was shown."""

    def run_(path, **options):
        shown = io.StringIO()
        job = load(path)
        if workers := options.pop("workers", None):
            job = job.with_workers(workers)
        options = {"state": tmp_path / "state", "command": AGENT} | options
        result = run_local(job, console=Console(file=shown, width=200), **options)
        return result, shown.getvalue()

    return run_
