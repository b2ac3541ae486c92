"""Examples as KerasJobs: their own files, applied as their first lines say, with data from S3."""

import json
import subprocess
import sys

import pytest
import yaml
from tests.cluster import cluster

EXAMPLES = cluster.ROOT / "examples"
MINUTES = 60
# A folder of images, and a program without Python. The others are run on two workers by the tests of fidelity.
NAMES = ["image_folder", "recipe_images"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What the examples read, in the bucket where they look for it."""
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(EXAMPLES / "make_data.py"), str(folder)], check=True, capture_output=True)
    upload(folder, "datasets")
    upload(EXAMPLES / "recipe_images" / "data", "datasets")


def upload(folder, prefix):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            cluster.s3().upload_file(str(path), "kerasjob", f"{prefix}/{path.relative_to(folder)}")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_trains_on_the_cluster(name, data):
    job = yaml.safe_load((EXAMPLES / name / "kerasjob.yaml").read_text())
    code = job["spec"]["program"].get("code")
    if code:
        configmap = code["configMap"]
        cluster.kubectl("delete", "configmap", configmap, "--ignore-not-found")
        cluster.kubectl("create", "configmap", configmap, f"--from-file={EXAMPLES / name / 'train.py'}")
    own = job["metadata"]["name"]
    try:
        cluster.apply(job)
        seen = cluster.wait_for(own, cluster.phase_is("Succeeded", "Failed"), 3 * MINUTES)
        assert seen[-1]["phase"] == "Succeeded", json.dumps(seen[-1], indent=1) + cluster.diagnosis(own)
        assert seen[-1].get("restarts", 0) == 0, json.dumps(seen[-1].get("lastFailure"), indent=1)
        loss = next(m["value"] for m in seen[-1]["progress"]["metrics"] if m["name"] == "loss")
        assert 0 < float(loss) < 1.2
    finally:
        cluster.delete(own)
