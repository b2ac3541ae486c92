"""`python -m kerasjob_dashboards DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from kerasjob_dashboards import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
