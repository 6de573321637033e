# Everything below sets itself up: a virtual environment in .venv, then the package.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: search test test-all lint check clean

search: $(STAMP)  ## a search of the DARTS space on random data, on a Ray of its own
	$(BIN)/python jobs/search.py --preset nasi-fix --out runs/first $(ARGS)

test: $(STAMP)  ## the default tests (minutes); no data set or network is needed
	$(BIN)/python -m pytest $(ARGS)

test-all: $(STAMP)  ## the slow ones too
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

lint: $(STAMP)  ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose

check: lint test

clean:  ## what can be made again; runs/ are kept
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)
