# Commands of the project. Each target makes .venv itself, with uv when it is there, else with venv and pip.
#
#   make test PYTEST_ARGS="-k sampler"    run some of the tests
#   make test PYTHON=python3.12           use this interpreter for a new .venv
#   make test UV=                         do without uv

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Tests start many programs, and pytest rewrites every test: with this variable all of that is compiled again each time.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
UV ?= $(shell command -v uv)
PYTHON ?=
PYTEST_ARGS ?=
# Enough workers for a laptop; more of them cost more in start-up than they save. Tests of one file share what they
# made, so they run on one worker; of the slow ones, where one file may have an hour of them, those of one group do.
PYTEST_WORKERS ?= -n auto --maxprocesses 4

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: $(VENV)/.installed-core ## run the demonstration, one screenful (refruntime demo --all tells it call by call)
	@$(BIN)/refruntime demo

.PHONY: test
test: $(VENV)/.installed-test ## run the tests, in parallel
	@$(BIN)/python tools/compile_kernels.py
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not browser and not package and not page" --dist loadfile \
	  $(PYTEST_WORKERS) $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.installed-test ## run what takes minutes, such as every seeded bug (needs Rust for wasm32), and property tests on new examples
	@$(BIN)/python tools/compile_kernels.py
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "(slow or hypothesis) and not browser and not package" --hypothesis-profile=free \
	  --dist loadgroup $(PYTEST_WORKERS) $(PYTEST_ARGS)

.PHONY: test-pages
test-pages: $(VENV)/.installed-test ## type the commands of README and of the pages of docs, and compare what they print
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "page and not slow" $(PYTEST_WORKERS) $(PYTEST_ARGS)

.PHONY: wheel
wheel: $(VENV)/.installed-test ## build the wheel into dist
	@$(BIN)/python -m hatchling build --clean --target wheel

.PHONY: test-package
test-package: $(VENV)/.installed-test $(VENV)/.installed-package ## use the built wheel outside of the checkout; run pre-commit, a notebook, a cluster
	@scratch="$$(mktemp -d)"; trap 'rm -rf "$$scratch"' EXIT; \
	$(BIN)/python -m hatchling build --clean --target sdist --target wheel --directory "$$scratch/dist"; \
	wheel="$$(echo "$$scratch"/dist/*.whl)[wasm,repl,speed]"; \
	if [ -n "$(UV)" ]; then \
	  "$(UV)" venv --quiet --python $(BIN)/python "$$scratch/venv"; \
	  "$(UV)" pip install --quiet --python "$$scratch/venv/bin/python" "$$wheel" pytest; \
	else \
	  $(BIN)/python -m venv "$$scratch/venv"; \
	  "$$scratch/venv/bin/python" -m pip install -qq --disable-pip-version-check "$$wheel" pytest; \
	fi; \
	REFRUNTIME_INSTALLED_PYTHON="$$scratch/venv/bin/python" $(BIN)/python -m pytest -m package $(PYTEST_ARGS)

.PHONY: test-browser
test-browser: $(VENV)/.installed-test $(VENV)/.installed-browser ## run the tests of the page in headless Chromium, if it is there
	@$(BIN)/python -m pytest -m browser tests/consumers $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.installed-lint ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory node_modules/.installed && node node_modules/typescript/bin/tsc --noEmit; \
	else echo "the types of the JavaScript were not checked, because node and npm are not there"; fi

# TypeScript with the versions of package-lock.json, installed again when that changes; nothing of it is packed.
node_modules/.installed: package-lock.json
	@echo "installing typescript into node_modules"
	@npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

.PHONY: docs
docs: $(VENV)/.installed-core ## write docs/contract.md again from the rules, and the tables of docs/words.md
	@$(BIN)/python tools/make_contract_docs.py
	@$(BIN)/python tools/make_words_docs.py

.PHONY: docs-site
docs-site: $(VENV)/.installed-docs ## build the documentation as a site into build/site, offline; a warning is an error
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html --doctree-dir build/doctrees docs build/site

.PHONY: bench
bench: $(VENV)/.installed-test ## run every benchmark
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

FUZZ_MINUTES ?= 30

.PHONY: fuzz-loaders
fuzz-loaders: $(VENV)/.installed-test $(VENV)/.installed-coverage ## fuzz both loaders, tokenizers and the module reader guided by coverage, FUZZ_MINUTES each (Linux)
	@for target in gguf slm1 tokenizers modules; do \
	  echo "== $$target"; $(BIN)/python tests/drivers/loaders.py "$$target" --minutes "$(FUZZ_MINUTES)"; \
	done

.PHONY: clean
clean: ## remove .venv and everything that tools wrote
	@rm -rf $(VENV) node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras: installed once, and again when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "installing refruntime ($*) into $(VENV)"
	@requirement='.$(if $(filter core,$*),,[$*])'; \
	if [ -n "$(UV)" ]; then "$(UV)" pip install --quiet --python $(BIN)/python -e "$$requirement"; \
	else PIP_COMPILE=0 $(BIN)/python -m pip install -qq --disable-pip-version-check -e "$$requirement"; fi
	@touch $@

$(BIN)/python:
	@if [ -n "$(UV)" ]; then exec "$(UV)" venv --quiet --python "$(or $(PYTHON),>=3.11)" $(VENV); fi; \
	for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$candidate" -m venv $(VENV); \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with the venv and ensurepip modules was found; tried:" \
	  "$(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)." \
	  "Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
