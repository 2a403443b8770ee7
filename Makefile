# Python 3.11 or newer, git and make are all that is needed; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help reproduce reproduce-all smoke test lab docs clients benchmark benchmark-batch reference setup lock clean

help: ## show these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

reproduce: $(READY) ## set up, then make the paper: every figure, the headline, the claims and the report
	$(BIN)/mecpart reproduce $(ARGS)

reproduce-all: $(READY) ## make everything else too: all scenarios, what the paper does not ask, the documentation
	-@$(MAKE) --no-print-directory docs # the report carries them
	$(BIN)/mecpart reproduce --all $(ARGS)

smoke: $(READY) ## set up, then run every notebook as briefly as possible
	$(BIN)/mecpart reproduce --profile smoke --all $(ARGS)

test: $(READY) ## set up, then run all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/python -m jupyterlab $(ARGS) notebooks

docs: $(READY) ## set up, then write the documentation to build/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --doctree-dir build/doctrees docs build/docs

clients: $(READY) ## also install other libraries that tests and notebooks train with (Stable-Baselines3, PyTorch)
	$(BIN)/python -m pip install --quiet -r requirements-clients.txt

benchmark: clients ## set up, then measure the speed, next to Stable-Baselines3
	$(BIN)/python benchmarks

benchmark-batch: $(READY) ## set up, then measure where the time of a batch goes (ARGS=quick for that profile)
	$(BIN)/python benchmarks/batch.py $(ARGS)

PROFILE ?= quick
reference: $(READY) ## make the finished results of PROFILE (quick, paper) the reference that later ones are compared with
	$(BIN)/python -c 'from pathlib import Path; from mecpart import SCENARIOS; \
	  from mecpart.reproduction.reference import keep_reference; \
	  [print(keep_reference(Path("."), "$(PROFILE)", scenario)) for scenario in SCENARIOS \
	   if Path("data/results/$(PROFILE)", scenario).exists()]'

setup: $(READY) ## only set up

# The mark is set last: a set-up that was interrupted, or whose versions changed, is done again from the start.
$(READY): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) was not found; install Python 3.11 or newer," \
	  "or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: mecpart needs Python 3.11" \
	  "or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv or ensurepip;" \
	  "on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV): this takes a minute or two, and is done once."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: ## pin the newest allowed versions anew (requirements.lock)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	  "$$folder/bin/python" -m pip install --quiet uv && \
	  "$$folder/bin/uv" pip compile pyproject.toml --extra dev --upgrade --universal --fork-strategy fewest \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet \
	    --output-file requirements.lock

clean: ## remove .venv and everything under build/, the compilation cache included
	rm -rf $(VENV) build docs/reference
