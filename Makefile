# Every target makes what it lacks. `make help` lists them.
SHELL := /bin/bash
PY := .venv/bin/python
PYTEST := $(PY) -m pytest
CLUSTER := PYTHONPATH=hack $(PY) -m kerasjob_cluster
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-local test-fidelity test-keras lint generate docs docs-dashboards docs-tensorboard sbom lock cluster-up cluster-down cluster-status benchmark benchmark-trainer benchmark-recovery benchmark-operator faults soak soak-faults

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(STAMP) ## make .venv with all that development needs

$(STAMP): requirements/dev.txt pyproject.toml
	@hack/setup.sh
	@touch $@

demo: $(STAMP) ## train the main example on this machine: two workers, then one, and compare
	@examples/mnist/demo.sh

test: $(STAMP) ## everything that must hold (root on Debian or Ubuntu: it starts a real cluster)
	@hack/test.sh all

test-local: $(STAMP) ## the tests that need neither root nor a cluster
	@hack/test.sh local

test-fidelity: $(STAMP) ## the whole table of N workers against one, into docs/fidelity.md (about 15 minutes)
	@CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=2 $(PY) -m tests.fidelity --write docs/fidelity.md

test-keras: $(STAMP) ## Keras's own tests on two workers, into docs/keras-tests.md (about 20 minutes)
	@CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 $(PY) -m tests.keras_own --write docs/keras-tests.md

lint: $(STAMP) ## ruff, mypy, import-linter, generated files
	@hack/test.sh lint

generate: $(STAMP) ## write the CRD from the typed spec, the dashboards, the chart's README from its values
	@$(PY) -m kerasjob_api.crd | tee manifests/crd/kerasjobs.yaml > charts/kerasjob/files/kerasjobs.yaml
	@PYTHONPATH=hack $(PY) -m kerasjob_dashboards charts/kerasjob/files/dashboards
	@$(PY) hack/chart_readme.py

docs: docs-dashboards docs-tensorboard ## the pictures of the documentation, both of these

docs-dashboards: $(STAMP) ## Grafana's dashboards (needs the cluster with a job that trains; JOB=NAME MINUTES=10)
	@PYTHONPATH=hack $(PY) -m kerasjob_pictures $(if $(JOB),--job $(JOB)) $(if $(MINUTES),--minutes $(MINUTES))

docs-tensorboard: $(STAMP) ## the TensorBoard of a job that trains, begun for it (needs Chromium, no cluster)
	@CUDA_VISIBLE_DEVICES=-1 PYTHONPATH=hack $(PY) -m kerasjob_pictures.tensorboard docs/pictures/tensorboard.png

sbom: $(STAMP) ## what is in the images, as CycloneDX, into dist/sbom
	@hack/sbom.sh dist/sbom

lock: $(STAMP) ## lock the Python requirements
	@hack/lock.sh

cluster-up: $(STAMP) ## a real Kubernetes with two nodes, S3, Prometheus and the operator on this machine
	@$(CLUSTER) up

cluster-down: $(STAMP) ## take all of it away
	@$(CLUSTER) down

cluster-status: $(STAMP) ## what of it runs
	@$(CLUSTER) status

faults: $(STAMP) ## what each fault costs a job, into docs/recovery.md (needs the cluster, about 8 minutes)
	@PYTHONPATH=. $(PY) -m tests.cluster.faults --write docs/recovery.md

soak-faults: $(STAMP) ## fifty faults at random on one job (needs the cluster, about an hour)
	@PYTHONPATH=. $(PY) -m tests.cluster.faults --random 50

benchmark: $(STAMP) ## time from apply to the first step, split into its parts (needs the cluster)
	@$(PY) benchmarks/first_step.py

benchmark-trainer: $(STAMP) ## steps, input, all-reduce and start, side by side with what is without us
	@for part in step_speed input_scaling all_reduce start; do \
	  CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 $(PY) benchmarks/$$part.py || exit 1; done

benchmark-operator: $(STAMP) ## what the operator bears, beside a client that only writes (about 40 minutes; builds kwok the first time)
	@$(PY) -m benchmarks.operator_load --check

benchmark-recovery: $(STAMP) ## what a checkpoint and a lost worker cost, beside what stock Keras and Orbax do (half an hour)
	@for part in checkpoint recovery; do $(PY) benchmarks/$$part.py || exit 1; done

soak: $(STAMP) ## the simulation for longer, every example by the real command, the whole kill matrix (about 2 hours)
	@HYPOTHESIS_PROFILE=soak KERASJOB_WHOLE_MATRIX=1 $(PYTEST) tests/simulation tests/soak tests/recovery
