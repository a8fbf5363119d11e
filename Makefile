PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
TWINS_PORT ?= 0
MODELS ?= 200

BIN := .venv/bin
NEEDED := import sys; sys.exit(sys.version_info < (3, 11))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test check schema released clean

help:
	@echo "make demo      run the gateway over offline twins (PORT=8000 TWINS_PORT=0 MODELS=200 HOST=127.0.0.1)"
	@echo "make test      run the tests"
	@echo "make check     lint, types, import rules, and schema.graphql against the code"
	@echo "make bench   measure what answers cost, and write build/bench (about four minutes, Linux)"
	@echo "make schema    write schema.graphql"
	@echo "make released  keep schema.graphql as the one of the last release"
	@echo "make clean     remove .venv and every cache"
	@echo "PYTHON=...     the Python for .venv, 3.11 or newer (now: $(PYTHON))"

demo: .venv/run
	@echo "Running the gateway over offline twins"
	@exec $(BIN)/gateway demo --host $(HOST) --port $(PORT) --twins-port $(TWINS_PORT) --models $(MODELS)

test: .venv/dev
	@echo "Running the tests"
	@$(BIN)/python -m pytest $(ARGS)

check: .venv/dev
	@echo "Checking lint, types, import rules and the schema"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/gateway schema --check

bench: .venv/dev
	@echo "Measuring what answers cost"
	@$(BIN)/python -m tests.bench $(ARGS)

schema: .venv/run
	@echo "Writing schema.graphql"
	@$(BIN)/gateway schema > .venv/schema.graphql
	@cp .venv/schema.graphql schema.graphql

released: schema
	@echo "Writing tests/contract/released.graphql"
	@cp schema.graphql tests/contract/released.graphql

clean:
	@echo "Removing .venv and caches"
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@rm -rf gateway/http/playground/fetched tests/*/build tests/*/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not found; name a Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c '$(NEEDED)' || { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot create .venv: is the venv module of $(PYTHON) installed?" >&2; exit 1; }

.venv/run: pyproject.toml gateway/http/playground/assets.py | .venv/bin/python
	@echo "Installing the gateway into .venv"
	@$(PIP) --editable .
	@touch $@

.venv/dev: pyproject.toml gateway/http/playground/assets.py | .venv/bin/python
	@echo "Installing the gateway and the development tools into .venv"
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/run
