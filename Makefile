# Everything a developer runs. Each target sets up what it needs; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Any CPython from 3.11 on: make PYTHON=python3.13 test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Of a soak: the first seed, and how many schedules and faults.
SEED ?= 100000
SCHEDULES ?= 20000
FAULTS ?= 1000

.PHONY: help demo check test coverage specs conformance containers fuzz chaos soak bench docs stubs format clean

# Hundreds of processes that tests start would each compile all of Harpoon where an environment says that none may keep it.
unexport PYTHONDONTWRITEBYTECODE

# What `.ci/etcd` may have put there.
demo test containers chaos soak bench: export PATH := $(PATH):$(CURDIR)/$(BIN)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

demo: $(READY) ## see the whole way of a service, asserted step by step (under 40 s); on a real etcd: make demo STORE=etcd
	@$(if $(filter etcd,$(STORE)),.ci/etcd $(BIN))
	@$(BIN)/python examples/demo.py $(if $(STORE),--store $(STORE))

check: $(READY) ## format, lint, types, layers, generated code
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet . || true; echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@PYTHON="$(PYTHON)" .ci/stubs --check

test: $(READY) ## all tests, with real processes; coverage of the first part is kept for `make coverage`
	@.ci/etcd $(BIN)
ifneq ($(ARGS),)
	@$(BIN)/coverage run -m pytest $(ARGS)
else
	@.ci/java
	@.ci/test $(BIN)
	@$(BIN)/coverage report --fail-under=100 >$(VENV)/coverage || { cat $(VENV)/coverage; exit 1; }
endif

coverage: $(READY) ## what the last `make test` did not reach of what decides, and of what everything rests on: every branch of it is tested
	@$(BIN)/coverage report

specs: $(READY) ## check how agents are owned, exclusive slots move and attempts are claimed, in every order (specs/), and that mistakes are found
	@.ci/java
	@$(BIN)/python -m tests.specs.large
	@$(BIN)/python -m pytest -q tests/specs $(ARGS)

conformance: $(READY) ## judge the watch of a server of ours, or of any: make conformance SERVER=http://… TOKEN_FILE=…
	@$(BIN)/python -m pytest tests/conformance $(if $(SERVER),--server $(SERVER)) $(if $(TOKEN_FILE),--token-file $(TOKEN_FILE)) $(ARGS)

containers: $(READY) ## build the image, and run it as servers and agents beside etcd, on a Docker engine; by root one is installed and started
	@.ci/etcd $(BIN)
	@HARPOON_ALL_CONTAINERS=1 $(BIN)/python -m pytest -q tests/containers $(ARGS)

fuzz: $(READY) ## ten times the wrong requests of `make test` to a real server, and more made from the OpenAPI document (minutes)
	@HARPOON_SPOILT_REQUESTS=200000 HARPOON_FUZZ_EXAMPLES=16 HARPOON_FUZZ_PHASES=examples,coverage,fuzzing,stateful $(BIN)/python -m pytest -q tests/fuzz/test_spoilt.py tests/fuzz/test_openapi.py $(ARGS)

chaos: $(READY) ## break a real fleet at random, a thousand times, and judge what happened (40 minutes); by root: make chaos ARGS='--seed 7'
	@.ci/etcd $(BIN)
	@$(BIN)/python -m tests.system.chaos $(ARGS)

soak: $(READY) ## what `make test` does of simulation and real faults, for two hours; by root: make soak SEED=1 SCHEDULES=20000 FAULTS=1000
	@.ci/etcd $(BIN)
	@$(BIN)/python -m tests.sim --seeds $(SEED):$$(($(SEED) + $(SCHEDULES)))
	@HARPOON_SIM_STRIDE=1 $(BIN)/python -m pytest -q tests/sim/test_schedules.py -k scenario --timeout 7200
	@HARPOON_SIM_STRIDE=1 $(BIN)/python -m pytest -q tests/sim/test_gaps.py --timeout 7200
	@$(BIN)/python -m tests.sim.gate --search
	@$(BIN)/python -m tests.system.chaos --seed $(SEED) --faults $(FAULTS)

bench: $(READY) ## figures beside the raw floors of the same run; some only: make bench ARGS=store
	@.ci/etcd $(BIN)
	@$(BIN)/python -m bench $(ARGS)

docs: $(READY) ## write docs/openapi.json and the schemas of manifests anew
	@$(BIN)/python -m harpoon.api.published docs

stubs: ## make the messages of etcd's protocol anew, of harpoon/store/etcd/rpc.proto
	@PYTHON="$(PYTHON)" .ci/stubs

format: $(READY) ## lay out the code
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

clean: ## remove what these targets have made; running parts and harpoon-data are left alone
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* dist build

# Made once, and again when what it depends on changes. Dependency groups need pip 25.1 or later.
$(READY): pyproject.toml
	@.ci/venv "$(PYTHON)" "$(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev --editable .
	@touch $@
