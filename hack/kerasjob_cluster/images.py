"""The images: a base from Debian's packages, then operator and trainer by the project's Dockerfile; to the registry and
from there to the nodes.

No public registry is needed and no Docker. Wheels are downloaded once to the cache and mounted into the build. What has
not changed is neither built nor sent: a digest of the inputs says so; of what is sent, only new layers travel.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import tarfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kerasjob_cluster import containerd, node, paths, tools
from kerasjob_cluster.paths import CONTROL_PLANE, IMAGE_PREFIX, ROOT
from kerasjob_cluster.processes import in_namespace
from kerasjob_cluster.progress import ClusterError, run, say, step

BASE_PACKAGES = "python3,python3-venv,ca-certificates"


@dataclass(frozen=True)
class Image:
    """A target of the Dockerfile, and what goes into it."""

    name: str
    requirements: str
    sources: tuple[str, ...]


IMAGES = (
    Image("operator", "operator.txt", ("api/kerasjob_api", "core/kerasjob_core", "operator/kerasjob_operator")),
    Image("trainer", "trainer-tensorflow.txt", ("api/kerasjob_api", "trainer/kerasjob_trainer")),
)


def inputs_digest(image: Image, base: str, root: Path = ROOT) -> str:
    """Over all that an image is made of."""
    digest = hashlib.sha256(base.encode())
    files = [root / "Dockerfile", root / "requirements" / image.requirements]
    for source in image.sources:
        files += [file for file in sorted((root / source).rglob("*")) if file.is_file()]
    for file in files:
        if "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def base_key() -> str:
    """The base is Debian's (Ubuntu's) own, of the host's release."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    if not codename:
        raise ClusterError("The base image is made from Debian's or Ubuntu's packages, and this host is neither.", 2)
    return f"{codename}-{platform.machine()}-{hashlib.sha256(BASE_PACKAGES.encode()).hexdigest()[:8]}"


def build_base() -> str:
    """The archive of the base image, by mmdebstrap from the host's own sources. Its key."""
    key = base_key()
    archive = paths.cache() / "base" / f"{key}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        lists = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("debian.sources"),
                 *Path("/etc/apt/sources.list.d").glob("ubuntu.sources")]  # fmt: skip
        sources = [
            file for file in lists if file.exists() and re.search(r"^(deb|types)\b", file.read_text(), re.I | re.M)
        ]
        partial = archive.with_suffix(".partial.tar")
        with step("base image: installed"):
            run(["mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", key.split("-")[0], partial, *sources])
        partial.rename(archive)
    if run(_buildah("images", "-q", f"{IMAGE_PREFIX}base:{key}"), check=False).stdout.strip():
        return key
    with step("base image: imported"):
        file = f"FROM scratch\nADD {archive.name} /\n"
        tag = f"{IMAGE_PREFIX}base:{key}"
        run(_buildah("bud", "-q", "--isolation", "chroot", "-t", tag, "-f", "-", str(archive.parent)), stdin=file)
    return key


def base_python(key: str) -> str:
    """The version of the base's Python, such as 3.11: what the wheels are for."""
    with tarfile.open(paths.cache() / "base" / f"{key}.tar") as archive:
        for member in archive:
            if match := re.fullmatch(r"\.?/?usr/bin/python(3\.\d+)", member.name):
                return match[1]
    raise ClusterError(f"no Python in the base image {key}")


def download_wheels(image: Image, python: str) -> Path:
    """A folder with all wheels that an image installs, by the host's pip and its settings."""
    requirements = ROOT / "requirements" / image.requirements
    wheels = paths.cache() / "wheels"
    done = wheels / f".{python}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not done.exists():
        wheels.mkdir(parents=True, exist_ok=True)
        with step(f"wheels of {image.requirements}: downloaded"):
            run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
                 f"--python-version={python}", "--require-hashes", "-r", requirements, "-d", wheels])  # fmt: skip
        done.touch()
    return wheels


def _storage() -> Path:
    return paths.cache() / "buildah"


def _buildah(command: str, *arguments: str) -> list[str]:
    """buildah with a storage of our own: `rm -r` of the cache is all it takes to be rid of it."""
    root = _storage()
    return ["buildah", "--root", f"{root}/storage", "--runroot", f"{root}/run", "--storage-driver", "overlay", command,
            *arguments]  # fmt: skip


def build_all() -> dict[str, str]:
    """Builds what has changed. The digest of the inputs of every image."""
    say("images: looking for changes")
    base = build_base()
    python = base_python(base)
    digests = {}
    for image in IMAGES:
        digests[image.name] = inputs_digest(image, base)
        if _pushed(image.name, digests[image.name]):
            continue
        wheels = download_wheels(image, python)
        with step(f"image {image.name}: built"):
            run(
                _buildah(
                    "bud", "-q", "--isolation", "chroot", "--layers", "--target", image.name,
                    "--build-arg", f"BASE={IMAGE_PREFIX}base:{base}", "--build-arg", "PIP_NO_INDEX=1",
                    "--build-arg", "PIP_FIND_LINKS=/wheels", "--volume", f"{wheels}:/wheels:ro",
                    "--tag", f"{IMAGE_PREFIX}{image.name}:dev", str(ROOT),
                )
            )  # fmt: skip
    return digests


def build_pause() -> str:
    """The image that holds a pod's namespaces: one static program."""
    tool = next(tool for tool in tools.TOOLS if tool.name == "pause")
    inputs = tools.module_hash(paths.TOOL_MODULES / "pause")
    if not _pushed("pause", inputs):
        file = 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n'
        binary = tools.cached(tool)
        run(_buildah("bud", "-q", "-t", f"{IMAGE_PREFIX}pause:dev", "-f", "-", str(binary.parent)), stdin=file)
    return inputs


def _record(name: str) -> Path:
    return paths.cache() / "pushed" / f"{name}.json"


def _pushed(name: str, inputs: str) -> str | None:
    """The digest under which the registry has an image of these inputs, if it has one."""
    try:
        record: dict[str, str] = json.loads(_record(name).read_text())
    except (OSError, ValueError):
        return None
    digest = record["digest"]
    link = (
        paths.cache() / "registry/docker/registry/v2/repositories/kerasjob" / name / "_manifests/tags/dev/current/link"
    )
    there = link.exists() and link.read_text().strip() == digest
    return digest if record["inputs"] == inputs and there else None


def push(name: str, inputs: str) -> str:
    """Sends an image to the registry, if it changed. Its digest."""
    if digest := _pushed(name, inputs):
        return digest
    record = _record(name)
    record.parent.mkdir(parents=True, exist_ok=True)
    digest_file = record.with_suffix(".digest")
    with step(f"image {name}: pushed"):
        source, target = f"{IMAGE_PREFIX}{name}:dev", f"docker://{paths.REGISTRY}/kerasjob/{name}:dev"
        options = ["-q", "--tls-verify=false", "--compression-format=zstd", "--digestfile", str(digest_file)]
        command = _buildah("push", *options, source, target)
        run(in_namespace(CONTROL_PLANE, command))
    digest = digest_file.read_text().strip()
    record.write_text(json.dumps({"inputs": inputs, "digest": digest}))
    return digest


def distribute(digests: dict[str, str], nodes: Iterable[paths.Node] = paths.NODES) -> None:
    """Brings images to all nodes that run and lack them, to both at once."""

    def bring(target: paths.Node) -> None:
        for name, digest in digests.items():
            start = time.monotonic()
            if containerd.pull(target, name, digest):
                say(f"image {name}: on {target.name} ({time.monotonic() - start:.1f} s)")

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(bring, target) for target in nodes]:
            done.result()


def release_storage() -> None:
    """buildah leaves its storage mounted on itself."""
    node.unmount(lambda point: _storage() in point.parents)
