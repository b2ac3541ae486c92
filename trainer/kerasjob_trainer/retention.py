"""Which checkpoints stay, and why: pure. Used where old ones are deleted, and where they are listed.

The newest ones; for good, the first one of each so many epochs or steps, and the best by a metric; and what any of
these needs to be restored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kerasjob_api.constants import SavePhase
from kerasjob_api.wire import KeepBest, KeepConfig
from kerasjob_trainer.manifests import Manifest

_GREATER_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "similarity", "dice")


def kept(manifests: Sequence[Manifest], keep: KeepConfig) -> dict[str, list[str]]:
    """Why each of those that stay does, by id. `manifests`: the newest first."""
    why: dict[str, list[str]] = {}

    def add(manifest: Manifest, reason: str) -> None:
        why.setdefault(manifest.id, []).append(reason)

    for manifest in manifests[: keep.last]:
        add(manifest, "last")
    seen: set[tuple[int, ...]] = set()
    for manifest in sorted(manifests, key=lambda m: m.step):
        for bucket, reason in buckets(manifest.step, manifest.position, keep):
            if bucket not in seen:
                seen.add(bucket)
                add(manifest, reason)
    if keep.best is not None:
        for manifest in _best(manifests, keep.best):
            add(manifest, f"best {keep.best.metric}")
    for manifest in manifests:
        for needed in manifest.keep if manifest.id in why else ():
            why.setdefault(needed, []).append("needed")
    return {id_: list(dict.fromkeys(reasons)) for id_, reasons in why.items()}


def buckets(step: int, position: dict[str, Any], keep: KeepConfig) -> list[tuple[tuple[int, ...], str]]:
    """Of how many steps and epochs a checkpoint may be the first, each with its name for people."""
    found: list[tuple[tuple[int, ...], str]] = []
    if keep.every_steps is not None and step >= keep.every_steps:
        found.append(((0, step // keep.every_steps), f"every {keep.every_steps} steps"))
    epochs = position["epoch"] if SavePhase(position["phase"]) is not SavePhase.STEP else 0
    if keep.every_epochs is not None and epochs >= keep.every_epochs:
        found.append(((1, position["call"], epochs // keep.every_epochs), f"every {keep.every_epochs} epochs"))
    return found


def is_better(best: KeepBest, value: float, than: float | None) -> bool:
    """Whether a value of the metric is better than another, or the first one."""
    if not math.isfinite(value):
        return False
    return than is None or (value > than if _greater_is_better(best) else value < than)


def _best(manifests: Sequence[Manifest], best: KeepBest) -> list[Manifest]:
    sign = -1 if _greater_is_better(best) else 1
    known = [m for m in manifests if math.isfinite(m.metrics.get(best.metric, math.nan))]
    # Of two that are as good the one before stays, as `ModelCheckpoint` has it.
    return sorted(known, key=lambda m: (sign * m.metrics[best.metric], m.step))[: best.number]


def _greater_is_better(best: KeepBest) -> bool:
    if best.mode != "auto":
        return best.mode == "max"
    return any(word in best.metric.lower() for word in _GREATER_IS_BETTER) and "loss" not in best.metric.lower()
