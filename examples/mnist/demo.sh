#!/bin/bash
# Trains the example on this machine with two workers, then with one, and compares their losses.
set -euo pipefail
cd "$(dirname "$0")/../.."
digits=examples/mnist/data # a few thousand real digits; the full set where Keras has it already
[ -f "${KERAS_HOME:-$HOME/.keras}/datasets/mnist.npz" ] && digits=${KERAS_HOME:-$HOME/.keras}/datasets
run() { # WORKERS
  .venv/bin/kerasjob run examples/mnist/kerasjob.yaml --fresh --workers "$1" --state ".kerasjob/demo-$1" \
    --map "s3://kerasjob/datasets/mnist/=$digits"
}
echo "== two workers"; run 2
echo "== one worker"; run 1
echo "== the losses of two workers and of one"
.venv/bin/python examples/mnist/compare.py .kerasjob/demo-2 .kerasjob/demo-1
