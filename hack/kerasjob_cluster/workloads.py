"""What runs in the cluster after it is up: the operator from manifests/, and what the main example needs in `default`.

Each part is skipped, and says so, where its files are not there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from kerasjob_cluster import paths
from kerasjob_cluster.controlplane import kubectl
from kerasjob_cluster.paths import IMAGE_PREFIX, ROOT, SYSTEM_NAMESPACE
from kerasjob_cluster.progress import ClusterError, say, step

MANIFESTS = ROOT / "manifests" / "dev"
EXAMPLE = ROOT / "examples" / "mnist"
OPERATOR_IMAGE = f"{IMAGE_PREFIX}operator:dev"
DIGEST_ANNOTATION = "kerasjob.dev/image-digest"


def with_digest(objects: list[dict[str, Any]], digest: str) -> list[str]:
    """Notes the operator image's digest in the pod template of each Deployment that runs it, so that a changed image
    under the same tag is rolled out. Names of these Deployments."""
    names = []
    for item in objects:
        template = item.get("spec", {}).get("template", {}) if item.get("kind") == "Deployment" else {}
        if any(c.get("image") == OPERATOR_IMAGE for c in template.get("spec", {}).get("containers", [])):
            template.setdefault("metadata", {}).setdefault("annotations", {})[DIGEST_ANNOTATION] = digest
            names.append(item["metadata"]["name"])
    return names


def deploy_operator(digest: str) -> None:
    """Applies manifests/dev and waits until the operator is available."""
    if not (MANIFESTS / "kustomization.yaml").exists():
        say("operator: skipped, there is no manifests/dev")
        return
    with step("operator: available"):
        rendered = list(yaml.safe_load_all(kubectl("kustomize", str(MANIFESTS))))
        names = with_digest(rendered, digest)
        # Definitions first: kustomize orders them so, and the API server needs a moment before it takes instances.
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rendered, sort_keys=False))
        for name in names:
            try:
                kubectl("rollout", "status", f"deployment/{name}", "-n", SYSTEM_NAMESPACE, "--timeout=120s")
            except ClusterError as error:
                pods = kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-o", "wide", check=False)
                logs = kubectl("logs", "-n", SYSTEM_NAMESPACE, f"deployment/{name}", "--tail=15", check=False)
                raise ClusterError(f"the operator does not become available: {error}\n{pods}\n{logs}") from error


def digits() -> Path | None:
    """The whole MNIST where somebody has laid it beside the checkout, else the part in the repository."""
    candidates = (ROOT.parent / "shared" / "data" / "mnist.npz", EXAMPLE / "data" / "mnist.npz")
    return next((file for file in candidates if file.exists()), None)


def seed_demo() -> None:
    """Bucket, keys, digits and program, as examples/mnist/kerasjob.yaml names them."""
    _seed_store()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3-credentials", "namespace": "default"},
        "stringData": {"AWS_ACCESS_KEY_ID": paths.S3_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": paths.S3_SECRET_KEY},
    }
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(secret))
    program = EXAMPLE / "train.py"
    if program.exists():
        made = kubectl("create", "configmap", "mnist-program", "-n", "default", f"--from-file={program}",
                       "--dry-run=client", "-o", "yaml")  # fmt: skip
        kubectl("apply", "-f", "-", stdin=made)
    else:
        say(f"demo: no program, there is no {program}")


def _seed_store() -> None:
    try:
        import boto3
        import botocore.exceptions
        from botocore.config import Config
    except ImportError:
        say("demo: no bucket, this Python has no boto3 (make setup)")
        return
    endpoints = json.loads(paths.ENDPOINTS.read_text())
    client = boto3.client(
        "s3",
        endpoint_url=endpoints["s3"],
        aws_access_key_id=endpoints["s3AccessKey"],
        aws_secret_access_key=endpoints["s3SecretKey"],
        region_name=paths.S3_REGION,
        config=Config(retries={"max_attempts": 5}),
    )
    try:
        client.create_bucket(Bucket=paths.BUCKET)
    except botocore.exceptions.ClientError as error:
        if error.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
            raise ClusterError(f"the bucket cannot be made: {error}") from error
    file, key = digits(), "datasets/mnist/mnist.npz"
    if file is None:
        say("demo: no digits, there is no examples/mnist/data/mnist.npz")
        return
    there = client.list_objects_v2(Bucket=paths.BUCKET, Prefix=key).get("Contents", [])
    if not there or there[0].get("Size") != file.stat().st_size:
        start = time.monotonic()
        client.upload_file(str(file), paths.BUCKET, key)
        say(f"demo: {file.name} uploaded to s3://{paths.BUCKET}/{key} ({time.monotonic() - start:.1f} s)")
