"""`python -m kerasjob_cluster`."""

import sys

from kerasjob_cluster.main import main

sys.exit(main(sys.argv[1:]))
