# Celesta's commands. `make` alone lists them; `make demo` and `make test` need nothing to be done before.

PYTHON_CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# What a person gets, and what a developer gets on top. The stamps make a second call free.
EXTRAS := postgres,tables,examples
SETUP_STAMP := $(VENV)/.setup.stamp
DEV_STAMP := $(VENV)/.dev.stamp
PINS := setup.cfg pyproject.toml constraints.txt

DEMO_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?= --write
SOAK_ARGS ?= --minutes 5
SOAK_ITEMS ?= 10000
SOAK_ROUNDS ?= 20

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format typecheck bench scale memory soak clean constraints
# One step at a time: the tests and the benchmarks measure time, and pip does not share an environment with itself.
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP_STAMP) ## Make .venv with the celesta command in it

demo: $(SETUP_STAMP) ## Run the digits pipeline twice on a stack of its own (DEMO_ARGS="--exit --json")
	@$(BIN)/celesta demo $(DEMO_ARGS)

test: lint typecheck ## Run all checks and tests (PYTEST_ARGS="-k cache" for some)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## Check style, and the import contracts between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## Rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(DEV_STAMP) ## Check the types
	$(BIN)/mypy celesta app workers

bench: $(DEV_STAMP) ## Measure Celesta beside stock Celery and write docs/benchmarks.md
	$(BIN)/python -m benchmarks.overhead $(BENCH_ARGS)

scale: $(DEV_STAMP) ## Measure questions over a record of a million steps and write docs/benchmarks.md
	$(BIN)/python -m benchmarks.scale $(BENCH_ARGS)

memory: $(DEV_STAMP) ## Measure the memory of a map of 50,000 items and write docs/benchmarks.md
	$(BIN)/python -m benchmarks.memory $(BENCH_ARGS)

soak: $(DEV_STAMP) ## Repeat each fault on large runs, then kill processes under random DAGs (SOAK_ARGS="--minutes 60")
	FAULT_ITEMS=$(SOAK_ITEMS) FAULT_ROUNDS=$(SOAK_ROUNDS) $(BIN)/python -m pytest tests/e2e/faults $(PYTEST_ARGS)
	$(BIN)/python -m benchmarks.soak $(SOAK_ARGS)

clean: ## Remove everything that make and the tests made here
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(DEV_STAMP) ## Write constraints.txt from what .venv holds now
	@{ grep '^#' constraints.txt; $(PIP) freeze --all --exclude celesta --exclude pip; } > constraints.new
	@mv constraints.new constraints.txt

$(BIN)/python:
	@set -e; for python in $(PYTHON_CANDIDATES); do \
	    if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        echo "Making $(VENV) with $$(command -v $$python)"; exec $$python -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "Celesta needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv);" >&2; \
	echo "none of these is one: $(PYTHON_CANDIDATES)" >&2; exit 1

$(SETUP_STAMP): $(PINS) | $(BIN)/python
	@echo "Installing Celesta and its pinned dependencies (a minute, once)"
	@$(PIP) install -q -c constraints.txt setuptools
	@$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

$(DEV_STAMP): $(SETUP_STAMP)
	@echo "Installing the tools of the tests"
	@$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev,$(EXTRAS)]'
	@touch $@
