# The one command surface of the project. `make help` lists the targets.
# Nothing here needs root: a missing system package is named and left to the reader (`.ci/run` installs it).

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

# A stamp is as new as the lock that was installed last; nothing is installed again until a lock changes.
INSTALLED := $(VENV)/.installed
INSTALLED_INTEROP := $(VENV)/.installed-interop
INSTALLED_NPM := tests/interop/node_modules/.installed

# The first interpreter of this machine that the project supports; empty if there is none.
PYTHON ?= $(shell for python in python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1 && echo "$$python" && break; done)

# `make demo ONCE=1` stops after verifying.
ONCE ?=
# How many seeds `make sim` plays: `make sim SEEDS=2000`.
SEEDS ?= 500
# How long `make drill` goes on, and how many validators it has: `make drill MINUTES=30 VALIDATORS=7`.
MINUTES ?= 10
VALIDATORS ?= 4
# More arguments for pytest: `make test PYTEST_ARGS="-k codec"`.
PYTEST_ARGS ?=
# The environment's own programs come first on PATH (node, where it was installed there).
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv demo test check sim drill bench interop browser nodejs lock

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

venv: $(INSTALLED)  ## Make .venv with the pinned dependencies and .venv/bin/pila

$(INSTALLED): requirements-dev.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		echo "Python 3.11 or 3.12 with its venv module is missing. Install it with: sudo apt-get install -y python3 python3-venv" >&2; \
		exit 2; \
	fi
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "Making $(VENV) with $(PYTHON)" && rm -rf $(VENV) && "$(PYTHON)" -m venv $(VENV); }
	@echo "Installing the pinned dependencies"
	@$(PIP_INSTALL) --require-hashes --requirement requirements-dev.lock
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(INSTALLED)  ## Four validators that issue, revoke, stack and verify; ONCE=1 stops after verifying
	$(BIN)/pila demo $(if $(filter-out 0,$(ONCE)),--once)

test: $(INSTALLED)  ## The whole suite: unit, architecture, scenarios, simulation, functional
	$(PYTEST) -n 2 --dist loadfile -m "not functional and not interop and not browser" $(PYTEST_ARGS)
	$(PYTEST) -m functional $(PYTEST_ARGS)

check: $(INSTALLED)  ## Format, lint, types, import contracts, spelling; no tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict node tools
	$(BIN)/lint-imports
	$(BIN)/codespell

sim: $(INSTALLED)  ## Whole networks in one process under SEEDS= seeded schedules with faults
	$(BIN)/python -m tools.simulate --seeds $(SEEDS)

drill: $(INSTALLED)  ## Real nodes under every fault for MINUTES=; no acknowledged transaction may be lost
	$(BIN)/python -m tests.functional.drill --minutes $(MINUTES) --validators $(VALIDATORS)

bench: $(INSTALLED)  ## Micro and cluster benchmarks
	$(BIN)/python -m benchmarks

interop: $(INSTALLED) $(INSTALLED_INTEROP) nodejs $(INSTALLED_NPM)  ## Other people's software reads what we write
	$(PYTEST) tests/interop $(PYTEST_ARGS)

browser: $(INSTALLED) nodejs  ## The pages in a real browser; needs Chromium
	$(PYTEST) tests/browser $(PYTEST_ARGS)

$(INSTALLED_INTEROP): requirements-interop.lock $(INSTALLED)
	@echo "Installing the pinned libraries of the interop tests"
	@$(PIP_INSTALL) --require-hashes --requirement requirements-interop.lock
	@touch $@

# Node.js of the machine if it is new enough, else the pinned one inside the environment.
nodejs: $(INSTALLED)
	@PATH="$(CURDIR)/$(BIN):$$PATH"; \
	if ! { npm --version && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; } >/dev/null 2>&1; then \
		echo "Installing the pinned Node.js"; \
		$(PIP_INSTALL) --require-hashes --requirement requirements-nodejs.lock; \
	fi

$(INSTALLED_NPM): tests/interop/package.json tests/interop/package-lock.json | nodejs
	@echo "Installing the pinned Node.js packages of the interop tests"
	@cd tests/interop && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

# Versions move only here. For both interpreters and all platforms, with hashes, without naming a registry.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

lock:  ## Write the lock files anew from pyproject.toml (needs uv; UPGRADE=1 takes newer versions)
	@command -v uv >/dev/null || { echo "uv is missing. Install it with: pipx install uv" >&2; exit 2; }
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --output-file requirements.lock
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) $(if $(UPGRADE),--upgrade) --group interop --constraint requirements-dev.lock --output-file requirements-interop.lock
	$(LOCK) $(if $(UPGRADE),--upgrade) --group nodejs --output-file requirements-nodejs.lock
