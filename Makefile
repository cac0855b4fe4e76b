# `make demo` and `make test` work from a fresh clone: they create the environment on first use and keep it.
VENV ?= .venv
PYTHON ?= python3
# Where to take torch from: empty means PyPI (on Linux a build with CUDA). For CPUs only, a smaller download:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := $(VENV)/bin
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
# With a thread for each core, tests of several processes wait for each other; CPUs are used by files of tests at once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# A file's tests share what they set up; the long ones come first.
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# One line per package instead of several: pip's own --quiet would be silent for minutes.
PROGRESS := sed -unE 's/^(Collecting [^ ]+|Installing collected|Successfully installed).*/  \1/p'

.PHONY: help demo test test-large faults check lock docs clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## Profile this machine, search, and export the best model under the latency budget
	@$(BIN)/spvit-search run experiments/demo.toml

test: $(INSTALLED_DEV) ## Run the tests, with whole searches on real Ray and MLflow among them (nine minutes)
	@$(PYTEST) $(AT_ONCE)

test-large: $(INSTALLED_DEV) ## Run the tests of faults, clusters, databases and browsers (half an hour)
	@$(PYTEST) -m large

faults: $(INSTALLED_DEV) ## Hundreds of kills and full disks (up to an hour; goes on where it was stopped), and docs/reliability.md
	@$(BIN)/python tests/faults/long_run.py runs/faults 55
	@$(BIN)/python tests/faults/report_card.py runs/faults

check: $(INSTALLED_DEV) ## Lint, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lock: $(INSTALLED_DEV) ## Write constraints.txt from what is installed
	@$(BIN)/python docs/make_constraints.py

docs: $(INSTALLED_DEV) ## Write the generated part of docs/
	@$(BIN)/python docs/make_reference.py

clean: ## Remove caches and build outputs (not runs/, not the environment)
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(CREATED):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Python 3.11 or newer is required, but '$(PYTHON)' was not found. Install it or: make PYTHON=/path/to/python"; \
	  exit 1; } >&2
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(0 if v >= (3, 11) else "Python 3.11 or newer is required, but $(PYTHON) is %d.%d. Choose another: make PYTHON=python3.11" % v[:2])'
	@echo "Creating the environment $(VENV) (once; a few minutes, most of it torch)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "The environment could not be made. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(INSTALLED): $(CREATED) pyproject.toml constraints.txt
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  $(PIP) install --index-url "$(TORCH_INDEX)" -c constraints.txt torch torchvision | $(PROGRESS); fi
	@$(PIP) install -c constraints.txt -e . | $(PROGRESS)
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@$(PIP) install -c constraints.txt --group checking --group test | $(PROGRESS)
	@touch $@
