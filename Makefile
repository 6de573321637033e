# Everything below sets itself up: a virtual environment in .venv, then the package.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# Without byte code every process that a test starts compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help search test test-integration test-slow test-fuzz test-all lint format check clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

search: $(STAMP)  ## search the DARTS space on random data, on a Ray of its own
	$(BIN)/python jobs/search.py --num-workers 2 --out runs/first $(ARGS)

test: $(STAMP)  ## run the unit tests (about 3 minutes on 2 cores); no Ray, network or data set is needed
	$(PYTEST) -n auto --dist worksteal $(ARGS)

test-integration: $(STAMP)  ## run the tests that start Ray, servers and processes
	$(PYTEST) -m "integration and not slow and not gpu" -n 3 --dist loadgroup $(ARGS)

test-slow: $(STAMP)  ## run the slow tests
	$(PYTEST) -m "slow and not gpu" $(ARGS)

test-fuzz: $(STAMP)  ## read many damaged files (a minute on 2 cores)
	$(PYTEST) -m fuzz -n auto $(ARGS)

test-all: test test-integration test-slow test-fuzz  ## run all tests but those that need a GPU

lint: $(STAMP)  ## check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose

format: $(STAMP)  ## format the code, and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test  ## lint and test

clean:  ## delete what can be made again; runs/ are kept
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)
