#!/bin/bash
# What is in the images, as CycloneDX: Python's packages as they are locked. `hack/sbom.sh DIRECTORY`
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "$1"
for image in operator trainer-tensorflow trainer-gpu; do
  .venv/bin/cyclonedx-py requirements --output-reproducible --no-validate --spec-version 1.6 --pyproject pyproject.toml \
    --output-file "$1/$image.cdx.json" "requirements/$image.txt"
done
