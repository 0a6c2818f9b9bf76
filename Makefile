# All a newcomer needs. Everything runs in .venv, installed from constraints.txt.
PYTHON ?= python3
WORKSPACE ?= workspace/demo
PORT ?= 4200
BIN := .venv/bin
# setuptools warns at length that an editable install is an editable install
QUIET_EDITABLE := PYTHONWARNINGS=ignore:Editable
# these need a data set or another project's code, and say which: .venv/bin/python benchmarks/NAME.py --help
WITH_ARGUMENTS := arrivals long_tail train_speed warm_start
API := http://127.0.0.1:$(PORT)/api

.DEFAULT_GOAL := help
.PHONY: help venv demo test check fix bench serve clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */:/' | awk -F: '{printf "  make %-8s %s\n", $$1, $$2}'

venv: .venv/.installed-dev  ## create .venv with everything that development needs

demo: .venv/.installed  ## augment scikit-learn's handwritten digits through the Prefect flow (about 3 minutes)
	$(BIN)/python -m flows.augment digits --preset demo --workspace $(WORKSPACE)

test: .venv/.installed-dev  ## run the tests (without the slow ones)
	$(BIN)/python -m pytest -m "not slow"

check: .venv/.installed-dev  ## lint, format, types and import contracts; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/.installed-dev  ## repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed-dev  ## run the benchmarks that need no data (hours); each writes JSON to benchmarks/results
	set -e; for file in $(filter-out $(WITH_ARGUMENTS:%=benchmarks/%.py),$(sort $(wildcard benchmarks/*.py))); do $(BIN)/python $$file; done
	@echo "not run, because they need arguments (--help says which): $(WITH_ARGUMENTS)"

serve: .venv/.installed  ## run a Prefect server in the foreground (PORT=4200); see deployments/README.md
	@echo "UI and API: http://127.0.0.1:$(PORT). In a second terminal, from this directory:"
	@echo "  export PREFECT_API_URL=$(API)"
	@echo "  $(BIN)/prefect work-pool create local --type process"
	@echo "  $(BIN)/prefect --no-prompt deploy --all --prefect-file deployments/prefect.yaml"
	@echo "  $(BIN)/prefect worker start --pool local --type process --limit 1"
	@echo "Ctrl-C stops the server."
	@mkdir -p workspace
	PREFECT_HOME=$(CURDIR)/workspace/.prefect PREFECT_SERVER_API_PORT=$(PORT) PREFECT_SERVER_UI_API_URL=$(API) \
	PREFECT_API_URL=$(API) PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 \
	PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem \
	PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false $(BIN)/prefect server start

clean:  ## remove caches and build products; .venv and workspace stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find aigc_pipeline flows tests benchmarks deployments -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "aigc-pipeline needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv; the first time takes some minutes"
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(QUIET_EDITABLE) $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(QUIET_EDITABLE) $(BIN)/python -m pip install --quiet -c constraints.txt -e . --group test --group check
	@touch $@
