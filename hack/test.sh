#!/bin/bash
# The tests, fast ones first. `hack/test.sh lint | local | all`; `make test` and the CI call it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"

say() { printf '\n== %s (%s)\n' "$1" "$(date +%H:%M:%S)"; }

# The S3 server of the trainer's tests and the API server of the integration tests come from here.
tools() { say "tools"; PYTHONPATH=hack python -m kerasjob_cluster tools; }

lint() {
  say "lint"
  ruff check .
  ruff format --check .
  mypy
  lint-imports
}
# A worker of pytest for each of two cores; the long simulations are first of the one and last of the other.
IN_PARALLEL=(-n 2 --dist worksteal)
unit() {
  say "unit and simulation"
  pytest -q "${IN_PARALLEL[@]}" tests/simulation/test_day.py tests/unit tests/contract tests/simulation/test_s*.py
}
trainer() { say "trainer"; pytest -q "${IN_PARALLEL[@]}" tests/trainer; }
fidelity() { say "fidelity: two workers against one process"; pytest -q "${IN_PARALLEL[@]}" tests/fidelity; }
recovery() { say "recovery: killed in the middle, the same to the bit"; pytest -q "${IN_PARALLEL[@]}" tests/recovery; }
local_runs() { say "local runs"; pytest -q tests/local; }
integration() {
  say "integration: a real API server"
  # Beside the others what needs nothing of their control plane; whose audit log the test of rights reads.
  local apart=(tests/integration/test_{chart,gang,lint}.py) log failed=0
  log=$(mktemp)
  pytest -q -p no:cacheprovider "${apart[@]}" >"$log" 2>&1 & local beside=$!
  pytest -q tests/integration "${apart[@]/#/--ignore=}" || failed=1
  wait $beside || failed=1
  cat "$log"; rm "$log"
  return $failed
}
cluster() {
  say "cluster: real nodes, images, S3, Prometheus"
  export PYTHONPATH=hack
  trap 'python -m kerasjob_cluster down' EXIT # also when a test failed: nothing of it stays on the machine
  python -m kerasjob_cluster up
  pytest -q -m alone tests/cluster
  # A worker more than cores: kubelets and grace periods are waited for.
  pytest -q -m "not alone" -n 3 --dist loadfile --no-loadscope-reorder tests/cluster
  trap - EXIT
  python -m kerasjob_cluster down # fails where it left anything
}

case "${1:-all}" in
  lint) lint ;;
  local) lint; unit; trainer; fidelity; recovery; local_runs ;;
  all)
    if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
      echo "make test starts a real cluster and must be root on Linux; make test-local runs all that need not." >&2; exit 2
    fi
    tools; lint; unit; trainer; fidelity; recovery; local_runs; integration; cluster ;;
  *) echo "usage: hack/test.sh lint | local | all" >&2; exit 2 ;;
esac
say "all passed"
