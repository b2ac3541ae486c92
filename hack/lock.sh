#!/bin/bash
# Locks what pyproject.toml asks for, with hashes, for every platform. No index is named: the client's default is used.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() { # FILE EXTRA...
  local out=$1 extras=(); shift
  for extra in "$@"; do extras+=(--extra "$extra"); done
  .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-find-links \
    "${extras[@]}" --output-file "requirements/$out.txt" pyproject.toml
}
lock operator operator
lock trainer trainer
lock trainer-tensorflow trainer tensorflow
lock trainer-gpu trainer gpu
lock dev dev
