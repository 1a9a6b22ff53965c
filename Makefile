# Everything below needs only Python 3.11 to 3.14 and make; set-up happens by itself and once.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export TZ ?= Asia/Shanghai

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "Xinglin needs Python 3.11 to 3.14; name one with: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@echo "Setting up $(VENV): locked dependencies, about a minute the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements.lock)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)  ## Virtual environment with the locked dependencies

demo: $(READY)  ## Run the region on real parts and show what happened
	@$(BIN)/xinglin demo

up: $(READY)  ## Keep the region running, with the Airflow interface
	@$(BIN)/xinglin up

down: $(READY)  ## Stop it; everything it holds stays
	@$(BIN)/xinglin down

test: $(READY)  ## Every test, on two cores side by side
	@$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

test-services: $(READY)  ## The tests against PostgreSQL, MariaDB, Orthanc and Mosquitto, installed and started for them
	@$(BIN)/python deploy/services.py

check: $(READY)  ## Lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(READY)  ## Benchmarks: tables on the terminal, JSON in bench-results/
	@$(BIN)/python -m benchmarks

bench-sharing: $(READY)  ## Sharing's figures: export, verify, memory; projection beside two peers
	@$(BIN)/python -m benchmarks sharing_speed projection

bench-ledger: $(READY)  ## The ledger's figures: entries a second, growth, catching up, proofs
	@$(BIN)/python -m benchmarks ledger_speed ledger_growth region_interval

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --all-extras --upgrade pyproject.toml requirements.build --output-file requirements.lock

.PHONY: help setup demo up down test test-services check bench bench-ledger bench-sharing lock
