"""The images that the cluster runs: small, without what a running operator has no use for."""

import json
import subprocess

from tests.cluster import cluster

from kerasjob_cluster import images

BEYOND_THE_BASE_MAX_MB = 150


def sizes() -> dict[str, float]:
    """In MB (10^6), by name."""
    listed = subprocess.run(images._buildah("images", "--json"), capture_output=True, text=True, check=True).stdout
    units = {"KB": 1e-3, "MB": 1.0, "GB": 1e3}
    found = {}
    for image in json.loads(listed):
        number, unit = image["size"].split()
        found |= {name.rpartition("/")[2].split(":")[0]: float(number) * units[unit] for name in image["names"] or []}
    return found


def test_the_operator_is_small_beside_its_base():
    found = sizes()
    assert found["base"] < found["operator"] < found["base"] + BEYOND_THE_BASE_MAX_MB


def test_the_operator_runs_without_root_without_a_compiler_and_writes_nowhere():
    code = (
        "import os, shutil, pathlib; print(os.getuid(), [shutil.which(c) for c in ('gcc', 'cc', 'g++', 'make')]);"
        " pathlib.Path('/opt/kerasjob/x').touch()"
    )
    run = cluster.kubectl(
        "exec", "deployment/kerasjob-operator", "-n", "kerasjob-system", "--", "python", "-c", code, check=False
    )
    assert run.stdout.split(maxsplit=1) == ["1000", "[None, None, None, None]\n"]
    assert "Read-only file system" in run.stderr
