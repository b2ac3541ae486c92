"""Checks the recipe on standard input, as JSON; prints its faults as a JSON list. `kerasjob validate` starts it."""

from __future__ import annotations

import json
import sys

from kerasjob_api.faults import readable
from kerasjob_trainer.recipe.running import read

if __name__ == "__main__":
    json.dump(readable(read(json.load(sys.stdin))[1]), sys.stdout)
