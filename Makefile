# `make predict` answers for an example patient, `make serve` starts the service,
# `make test` runs every check.
# Both set up what they need in .venv (once) and work offline afterwards.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("ketacast needs Python 3.11 or newer; %s is %s. Try: make PYTHON=python3.12"
             % (sys.executable, sys.version.split()[0]))
try:
    import ensurepip, venv
except ImportError:
    sys.exit("Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv")
endef
export CHECK_PYTHON

.PHONY: help predict serve test lint typecheck unit format fit synthesis validate clinic-study bench fuzz soak test-slow figures pictures wheel clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

predict: $(VENV)/.runtime  ## Print a prediction with its ranges for an example patient
	@$(BIN)/ketacast predict --failed-trials 6 --infusions 6 --rated-by self

serve: $(VENV)/.service  ## Start the service with its page on http://127.0.0.1:8000
	@$(BIN)/ketacast-service serve

test: lint typecheck unit  ## Run every check: lint, types, tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n auto

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fit: $(VENV)/.runtime  ## Rebuild artifact.json and draws.npz from evidence and recipe
	$(BIN)/ketacast fit --out models/ketamine-trd

synthesis: $(VENV)/.runtime  ## Pool the evidence beside the published synthesis
	$(BIN)/ketacast synthesis

validate: $(VENV)/.dev  ## Validate the model, simulated calibration included (minutes)
	$(BIN)/ketacast validate --out docs --json-out models/ketamine-trd

clinic-study: $(VENV)/.runtime  ## Simulate clinics that update the model (an hour); validate shows the result
	$(BIN)/ketacast clinic study --out models/ketamine-trd/clinic_coverage.json

bench: $(VENV)/.dev  ## Print the performance goals as ratios
	$(BIN)/python tests/benchmarks/predictions.py
	$(BIN)/python tests/benchmarks/http_service.py
	$(BIN)/python tests/benchmarks/posterior.py
	$(BIN)/python tests/benchmarks/fits.py
	$(BIN)/python tests/benchmarks/simulation.py

fuzz: $(VENV)/.dev  ## Send 20,000 generated requests to the service (half an hour)
	$(BIN)/pytest -q -s -m slow tests/service/test_schema_fuzz.py

soak: $(VENV)/.dev  ## Run the service for ten minutes at half of its peak
	$(BIN)/python tests/benchmarks/http_service.py soak --json tests/benchmarks/results/soak.json

figures: $(VENV)/.dev  ## Redraw the figures of README and docs
	$(BIN)/ketacast predict --failed-trials 6 --infusions 6 --rated-by self --plot docs/images/course.svg > /dev/null
	$(BIN)/python docs/images/draw.py

pictures: $(VENV)/.dev  ## Take the pictures of the lookup page again (needs chromium)
	$(BIN)/python -m tests.browser.pictures

test-slow: $(VENV)/.dev  ## Run the tests that take minutes (reruns the MCMC reference)
	$(BIN)/pip install -q -e '.[nuts]'
	$(BIN)/pytest -m slow

wheel: $(VENV)/.dev  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## Remove the environment and build leftovers
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "setting up $(VENV) (once)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/pip install -q -e .
	@touch $@

$(VENV)/.service: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the service (once)" >&2
	@$(BIN)/pip install -q -e '.[service]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the development tools (once)" >&2
	@$(BIN)/pip install -q -e '.[dev]'
	@touch $@ $(VENV)/.runtime $(VENV)/.service
