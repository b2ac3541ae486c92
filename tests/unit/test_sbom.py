"""What is in an image can be read by machines: each locked package, with its version and digests."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sbom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run([ROOT / "hack/sbom.sh", folder], check=True, capture_output=True)
    return lambda name: json.loads((folder / f"{name}.cdx.json").read_text())


@pytest.mark.parametrize("image", ["operator", "trainer-tensorflow", "trainer-gpu"])
def test_every_locked_package_is_listed(sbom, image):
    found = sbom(image)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    locked = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / f"requirements/{image}.txt").read_text()))
    listed = {component["name"]: component for component in found["components"]}
    assert {name: component["version"] for name, component in listed.items()} == locked
    assert all(component["externalReferences"][0]["hashes"] for component in listed.values())
