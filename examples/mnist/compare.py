"""Compares the histories of two finished runs: `compare.py STATE_A STATE_B`, two state directories of `kerasjob run`.

Losses must agree to 1e-5 relative. Not bit for bit: N workers add up the gradients of a batch in another order than one
process does, and float32 addition is not associative.
"""

import json
import math
import sys
from pathlib import Path

TOLERANCE = 1e-5


def histories(state):
    records = sorted(Path(state).rglob("done.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        sys.exit(f"{state}: no done.json, so no finished run with a checkpoint directory")
    return [call["history"] for call in json.loads(records[-1].read_text())["histories"]]


def main():
    first, second = histories(sys.argv[1]), histories(sys.argv[2])
    if [sorted(h) for h in first] != [sorted(h) for h in second]:
        sys.exit("the runs have other fit calls or metrics")
    worst = 0.0
    for call, (a, b) in enumerate(zip(first, second, strict=True)):
        for key in sorted(k for k in a if "loss" in k):
            for x, y in zip(a[key], b[key], strict=True):
                worst = max(worst, abs(x - y) / abs(y))
            print(f"fit {call + 1}  {key:9} {a[key][-1]:.7f}  {b[key][-1]:.7f}")
    print(f"largest relative difference of a loss: {worst:.1e} (allowed: {TOLERANCE:.0e})")
    if not math.isfinite(worst) or worst > TOLERANCE:
        sys.exit("the losses differ")


if __name__ == "__main__":
    main()
