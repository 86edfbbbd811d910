# `make up` serves a model on a Google Cloud that runs on this machine; `make help` lists the rest.
# Nothing is installed outside of this folder: .venv holds the packages, .local the engine, the local cloud and its stack.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# Read by the set-up and by the driver; see `make help`.
export STACK_FILE CONTAINER SMOKE PYTHON ENGINE
# Images for containers often set it; then every process compiles Pulumi's SDK again, which takes 4 s of every 10.
unexport PYTHONDONTWRITEBYTECODE

setup := scripts/setup.sh
python := .venv/bin/python
driver := $(python) -m infra.local.stack

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  STACK_FILE=stacks/NAME.yaml   with up: the model to serve (default: the one that Pulumi.local.yaml names)"
	@echo "  CONTAINER=simulated|vllm|URL  with up: what answers: a simulation, a real vLLM on the CPU, an OpenAI-compatible server"
	@echo "  SMOKE=1                       with up: one prediction on each enabled route besides the question"
	@echo "  PYTHON=/path/to/python        the Python to set up with (3.11, 3.12 or 3.13)"
	@echo "  ENGINE=path|installer|modules where Pulumi comes from: PATH, its official installer, Go modules (default: the first that works)"

.PHONY: up down status env setup clean
up: ## Sets up, deploys the local stack, asks the model one question
	@$(setup)
	@$(driver) up

down: ## Destroys the local stack, shows that the local cloud is empty, stops it
	@$(setup)
	@$(driver) down

status: ## What runs and what exists in the local cloud
	@$(setup)
	@$(driver) status

env: ## Starts the local cloud and writes .local/env, for pulumi by hand: . .local/env && pulumi preview
	@$(setup)
	@$(driver) env

setup: ## Only sets up: .venv and the Pulumi engine
	@$(setup) --dev

clean: ## Stops the local cloud and deletes .venv and .local
	@if [ -x $(python) ]; then $(driver) stop; fi
	@rm -rf .venv .local .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: test test-soak test-fast test-vllm lint types format
test: ## Sets up, runs every test but the soak
	@$(setup) --dev
	@$(python) -m pytest -n auto --dist loadgroup -m "not soak"

test-soak: ## The tests that go at length through what shorter ones show: kills, going back and forth
	@$(setup) --dev
	@$(python) -m pytest -n auto --dist loadgroup -m soak

test-fast: ## The tests that need no engine
	@$(setup) --dev --without-engine
	@$(python) -m pytest -n auto -m "not engine and not slow"

test-vllm: ## The simulated container against a real vLLM on the CPU (downloads 6 GB)
	@$(setup) --dev
	@$(python) -m infra.local.container.compare

lint: ## Linter and formatting
	@$(setup) --dev --without-engine
	@$(python) -m ruff check
	@$(python) -m ruff format --check

types: ## Types, strictly
	@$(setup) --dev --without-engine
	@$(python) -m mypy

format: ## Formats and fixes what the linter can
	@$(setup) --dev --without-engine
	@$(python) -m ruff check --fix
	@$(python) -m ruff format

.PHONY: benchmark benchmark-fit benchmark-kv benchmark-faults chaos pictures lock
benchmark: ## What our code costs in a warm pulumi preview
	@$(setup) --dev
	@$(python) benchmarks/preview.py

benchmark-fit: ## How near the memory prediction comes to measured start-ups, beside published formulas
	@$(setup) --dev --without-engine
	@$(python) benchmarks/fit.py

benchmark-kv: ## Our KV cache arithmetic against what a real vLLM said of each architecture
	@$(setup) --dev --without-engine
	@$(python) benchmarks/kv_truth.py

benchmark-faults: ## The matrix of faults, counted: every call of a stack's life with every fault
	@$(setup) --dev --without-engine
	@$(python) benchmarks/faults.py

chaos: ## kill -9 at 200 random times and around every HTTP call (hours); goes on where it was interrupted
	@$(setup) --dev
	@$(python) benchmarks/chaos.py --random 200 --jobs 2

pictures: ## The README's pictures, docs/*.svg, from what the commands print: needs make up
	@$(python) scripts/record.py

lock: ## Resolves pyproject.toml into requirements.txt and requirements-dev.txt
	@$(setup) --dev --without-engine
	@scripts/lock.sh
