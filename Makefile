# Everything a newcomer types. Each variable can be given on the command line: make sweep ROOT=/data

PYTHON ?= python3
VENV ?= .venv
# A CPU-only build: make TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0
# Where datasets, stages, logs and the MLflow store go.
ROOT ?= $(CURDIR)/results
# What is handed on to the job: make sweep ARGS="--help"
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCAL := $(BIN)/python -m ldns_ray.local
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install sweep test test-slow lint ui status stop

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 19

install: $(INSTALLED)  ## a virtual environment with everything

$(INSTALLED): pyproject.toml
	@echo "Installing into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install $(TORCH)
	@$(PIP) install -e ".[dev]"
	@touch $@

sweep: $(INSTALLED)  ## the small speech sweep, on a local Ray and a local MLflow server
	@$(LOCAL) up --root "$(ROOT)"
	@$(LOCAL) submit --root "$(ROOT)" -- python jobs/sweep_speech.py $(ARGS)

test: $(INSTALLED)  ## the fast tests
	@$(BIN)/python -m pytest -q -m "not slow" --durations=10 $(ARGS)

test-slow: $(INSTALLED)  ## the tests with real services, whole jobs, and, as root, a cluster of three hosts and its faults
	@$(BIN)/python -m pytest -q -m slow -rs --durations=20 $(ARGS)

lint: $(INSTALLED)  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

ui: $(INSTALLED)  ## start the MLflow server if none is running, and say where it is
	@$(LOCAL) up --root "$(ROOT)" --only mlflow

status: $(INSTALLED)  ## what is running
	@$(LOCAL) status --root "$(ROOT)"

stop: $(INSTALLED)  ## stop what `make sweep` and `make ui` started, nothing else
	@$(LOCAL) down --root "$(ROOT)"
