#!/bin/bash
# Makes .venv from the locked requirements. Needs Python 3.11 or newer; on Debian and Ubuntu, as root, it installs venv itself.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "KerasJob needs Python 3.11 or newer, this is $("$python" --version); name another one with PYTHON=…" >&2; exit 2; }
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv
  else
    echo "the Python module venv is missing: sudo apt-get install python3-venv" >&2; exit 2
  fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing the locked requirements into .venv (TensorFlow is large) …"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
