"""Every example by the real command: `kerasjob run` on two workers. Slow: each imports TensorFlow anew."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/kerasjob.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "data"
    subprocess.run([sys.executable, str(EXAMPLES / "make_data.py"), str(folder)], check=True, capture_output=True)
    (folder / "mnist").symlink_to(EXAMPLES / "mnist" / "data")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_by_the_command_in_its_readme(name, data, tmp_path):
    file = EXAMPLES / name / "kerasjob.yaml"
    maps = []
    for prefix in set(re.findall(r"s3://kerasjob/datasets/([\w-]+)/", file.read_text())):
        folder = data / prefix if (data / prefix).exists() else EXAMPLES / name / "data" / prefix
        maps.append(f"--map=s3://kerasjob/datasets/{prefix}/={folder}")
    command = [sys.executable, "-m", "kerasjob.cli", "run", str(file), f"--state={tmp_path}", *maps]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "accuracy" in done.stdout
