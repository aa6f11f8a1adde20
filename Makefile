# Every target is one command on a fresh machine: what is missing is set up first.
PYTHON ?= python3
PYTEST_ARGS ?=
# One worker runs all tests with nodes in turn: their deadlines need the cores. The other runs files without
# nodes, at low priority.
WORKERS ?= -n 2 --dist loadscope
DEMO_ARGS ?=
BENCH_ARGS ?=
FAULTS_ARGS ?=
STARTS_ARGS ?=
SHELL := /bin/bash
ENV := . scripts/env.sh &&

.PHONY: help setup setup-training setup-backends setup-servers setup-kserve setup-fleet setup-optimize build demo test check bench faults starts matrix baseline clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: ## use the ROS 2 of this machine or install the wheels into .venv, then build
	@$(PYTHON) scripts/set_up

setup-training: ## PyTorch into .venv-training, for the scripts in training/
	@$(PYTHON) scripts/set_up --training

setup-backends: ## OpenVINO, gRPC, wasmtime and OpenTelemetry into .venv, bindings of TensorRT and PyCUDA beside it, for the tests of their backends
	@$(PYTHON) scripts/set_up --backends

setup-fleet: ## TUF, object stores and MQTT into .venv, for registries and robots of a fleet
	@$(PYTHON) scripts/set_up --fleet

setup-servers: ## Triton and an S3 server into .venv-servers, for the tests of the kserve backend and of registries
	@$(PYTHON) scripts/set_up --servers

setup-kserve: ## KServe's own server into .venv-kserve, for the tests of the kserve backend
	@$(PYTHON) scripts/set_up --kserve

setup-optimize: ## PyTorch, NNCF and others into .venv-optimize, for `edge-perception optimize`
	@$(PYTHON) scripts/set_up --optimize

build: ## colcon build, even if nothing changed
	@$(PYTHON) scripts/set_up --build

demo: setup ## play a recording into the real nodes, pictures and summary in demo_out/
	@$(ENV) edge-perception demo $(DEMO_ARGS)

test: setup ## all tests
	@$(ENV) pytest $(WORKERS) $(PYTEST_ARGS)

check: setup ## format, lint, types and all tests: what CI runs
	@$(ENV) ruff format --check . && ruff check . && mypy && pytest $(WORKERS) $(PYTEST_ARGS)

bench: setup ## benchmarks against the usual way, figures as JSON in bench_out/
	@$(ENV) edge-perception bench all $(BENCH_ARGS)

faults: setup ## every fault: detection, recovery, gaps; table, JSON and picture in faults_out/
	@$(ENV) edge-perception faults --out faults_out $(FAULTS_ARGS)

matrix: setup ## the tests of changes at every step, of which `make test` runs a part
	@$(ENV) pytest --whole-matrix test/faults/test_set_faults.py test/faults/test_process_faults.py

starts: setup ## start and end nodes 200 times at random moments: all with 0 and within 2 s
	@$(ENV) edge-perception starts --out starts_out $(STARTS_ARGS)

baseline: setup ## replay the demo's recordings and write test/replay/baselines/demo anew
	@$(ENV) for kind in recorded simulated; do \
		mkdir -p build/baseline/$$kind && \
		edge-perception record-demo build/baseline/$$kind/recording.mcap \
			$$([ $$kind = simulated ] && echo --simulated) && \
		edge-perception validate build/baseline/$$kind/recording.mcap --update-baseline \
			--baseline test/replay/baselines/demo --out build/baseline/$$kind/report || exit 1; done

clean: ## remove what was built and what the demo wrote; .venv stays
	rm -rf build install log demo_out bench_out faults_out starts_out .mypy_cache .ruff_cache
