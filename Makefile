# The one command surface of the project. `make help` lists the targets.
# Nothing here needs root; a missing system package is named and left to the reader (`.ci/run` installs it).

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INTEROP_STAMP := $(VENV)/.installed-interop
NODEJS_STAMP := $(VENV)/.installed-nodejs
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

# How many seeds `make sim` plays; `make sim SEEDS=2000`.
SEEDS ?= 500
# `make demo ONCE=1` stops after verifying.
ONCE ?=
# Extra arguments for pytest, e.g. `make test PYTEST_ARGS="-k codec"`.
PYTEST_ARGS ?=
PYTEST := $(BIN)/python -m pytest

# The first interpreter on this machine that the project supports.
PYTHON ?= $(shell for python in python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1 && echo "$$python" && break; done)
SYSTEM_PACKAGES := python3 python3-venv

.DEFAULT_GOAL := help
.PHONY: help venv test check demo

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

venv: $(STAMP)  ## Make .venv with the pinned dependencies and .venv/bin/pila

$(STAMP): requirements-dev.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		echo "Python 3.11 or 3.12 with its venv module is missing; install it with: sudo apt-get install -y $(SYSTEM_PACKAGES)" >&2; \
		exit 2; \
	fi
	@if [ -x $(BIN)/python ] && ! $(BIN)/python -m pip --version >/dev/null 2>&1; then rm -rf $(VENV); fi
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV); }
	@echo "installing the pinned dependencies"
	@$(PIP_INSTALL) --require-hashes --requirement requirements-dev.lock
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

test: $(STAMP)  ## The whole test suite: unit, architecture, simulation, functional
	$(PYTEST) $(PYTEST_ARGS)

check: $(STAMP)  ## Format, lint, types, import contracts, spelling; no tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy node tools
	$(BIN)/lint-imports
	$(BIN)/codespell

demo: $(STAMP)  ## Four validators that issue, revoke, stack and verify; ONCE=1 stops after verifying
	$(BIN)/pila demo $(if $(filter-out 0,$(ONCE)),--once)
