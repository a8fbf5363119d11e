PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
TWINS_PORT ?= 0
MODELS ?= 300

BIN := .venv/bin
NEEDED := import sys; sys.exit(sys.version_info < (3, 11))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# `make lock UPGRADE=--upgrade` moves every package to its newest release that pyproject.toml allows.
LOCK = $(BIN)/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate
BUILD_REQUIRES := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs schema lock sbom released clean

help:
	@echo "make demo      run the gateway over offline twins (PORT=8000 TWINS_PORT=0 MODELS=300 HOST=127.0.0.1)"
	@echo "make test      run the tests (ARGS=... goes to pytest)"
	@echo "make check     check lint, types, import rules, and schema.graphql against the code"
	@echo "make bench     measure the CPU time per request, and write build/bench (about five minutes, Linux;"
	@echo "               ARGS=\"--compare FILE\" compares with the results.json of another run)"
	@echo "make docs      write the generated tables of docs/"
	@echo "make schema    write schema.graphql"
	@echo "make lock      write the lock files requirements*.lock (UPGRADE=--upgrade for newer releases)"
	@echo "make sbom      write the software bill of materials of the image: dist/registry-gateway.cdx.json"
	@echo "make released  record schema.graphql as the schema of the last release"
	@echo "make clean     remove .venv and every cache"
	@echo "PYTHON=...     the Python for .venv, 3.11 or newer (now: $(PYTHON))"

demo: .venv/run
	@echo "Running the gateway over offline twins"
	@exec $(BIN)/gateway demo --host $(HOST) --port $(PORT) --twins-port $(TWINS_PORT) --models $(MODELS)

test: .venv/dev
	@echo "Running the tests"
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(ARGS)

check: .venv/dev
	@echo "Checking lint, types, import rules and the schema"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/gateway schema --check

bench: .venv/dev
	@echo "Measuring the CPU time per request"
	@$(BIN)/python -m tests.bench $(ARGS)

docs: .venv/dev
	@echo "Writing the generated tables of docs/"
	@$(BIN)/python -m tests.documentation

schema: .venv/run
	@echo "Writing schema.graphql"
	@$(BIN)/gateway schema > .venv/schema.graphql
	@cp .venv/schema.graphql schema.graphql

lock: .venv/dev
	@echo "Writing requirements.lock, requirements-build.lock and requirements-dev.lock"
	@$(LOCK) --extra otel --output-file requirements.lock pyproject.toml
	@$(BIN)/python -c '$(BUILD_REQUIRES)' | $(LOCK) --output-file requirements-build.lock -
	@$(LOCK) --extra dev --output-file requirements-dev.lock pyproject.toml

sbom: .venv/dev
	@echo "Writing dist/registry-gateway.cdx.json"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/image
	@$(BIN)/uv pip install --quiet --python build/image --require-hashes --requirement requirements.lock
	@mkdir -p dist
	@$(BIN)/python docker/sbom.py build/image/bin/python > build/image/sbom.json
	@cp build/image/sbom.json dist/registry-gateway.cdx.json

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

.venv/run: pyproject.toml requirements.lock gateway/http/playground/assets.py | .venv/bin/python
	@echo "Installing the gateway into .venv"
	@$(PIP) --require-hashes --requirement requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

.venv/dev: pyproject.toml requirements-dev.lock gateway/http/playground/assets.py | .venv/bin/python
	@echo "Installing the gateway and the development tools into .venv"
	@$(PIP) --require-hashes --requirement requirements-dev.lock
	@$(PIP) --no-deps --editable .
	@touch $@ .venv/run
