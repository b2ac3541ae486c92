"""A disk with all images unpacked, kept in the cache, from which a new node's disk is made by hard links in a second.

Unpacking TensorFlow takes most of a minute on each node, and its files are only read afterwards: nodes can share them.
A containerd of its own fills the seed and ends. Used by `main` (update) and `node` (plant).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from kerasjob_cluster import containerd, paths, processes
from kerasjob_cluster.paths import Node
from kerasjob_cluster.progress import run, step


class _Seed(Node):
    """A node without a network of its own: it is where the registry is, and no pod runs on it."""

    @property
    def name(self) -> str:
        return f"{paths.PREFIX}seed"

    @property
    def namespace(self) -> str:
        return paths.CONTROL_PLANE

    @property
    def disk(self) -> Path:
        return paths.cache() / "seed"


SEED = _Seed(0)


def update(digests: Mapping[str, str]) -> None:
    """Brings these images to the seed, where it lacks them. Those it has beside stay."""
    if containerd.images(SEED) | dict(digests) == containerd.images(SEED):
        return
    with step("seed of the nodes' disks: images unpacked"):
        containerd.start(SEED, SEED.name)
        try:
            for image, digest in digests.items():
                containerd.pull(SEED, image, digest)
        finally:
            processes.stop(SEED.name)
            shutil.rmtree(SEED.run, ignore_errors=True)


def plant(node: Node) -> None:
    """Makes the disk of a node that has none. Does nothing where there is no seed."""
    if node.disk.exists() or not containerd.images(SEED):
        return
    node.disk.mkdir(parents=True)
    source, target = SEED.disk / "containerd", node.disk / "containerd"
    if run(["cp", "-al", source, target], check=False).returncode != 0:  # another file system
        shutil.rmtree(target, ignore_errors=True)
        run(["cp", "-a", source, target])
    for database in source.glob("io.containerd.*/*.db"):  # written in place: each node needs its own
        own = target / database.relative_to(source)
        own.unlink()
        shutil.copy(database, own)
    shutil.copy(containerd.record(SEED), containerd.record(node))
