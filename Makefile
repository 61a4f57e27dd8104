# `make` lists the commands. Nothing here relies on an active environment; paths may hold spaces.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.ready
PEERS := .venv-peers
GATE := .gate
PORT ?= 5006
LAB_PORT ?= 8888
PIP_ARGS ?=
ARGS ?=
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX

.PHONY: help env report report-all lab dashboards test test-slow test-portable test-environments test-browser claims bench kernels gate lint clean peers

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(STAMP) ## create .venv from requirements.lock (honours PIP_INDEX_URL, PIP_ARGS and TORCH=cuda)

$(STAMP): requirements.lock requirements-data.lock pyproject.toml
	@bash .ci/env $(VENV) requirements.lock project $(PIP_ARGS)

report: env ## render the front set of notebooks into data/reports/index.html
	@$(PYTHON) -m lab render --front $(ARGS)

report-all: env ## render every notebook at the default profile
	@$(PYTHON) -m lab render --all --profile default $(ARGS)

lab: env ## open JupyterLab at the start notebook (LAB_PORT=8888)
	@$(PYTHON) -m lab jupyter --port $(LAB_PORT) $(ARGS)

dashboards: env ## serve the Panel dashboards on 127.0.0.1 (PORT=5006)
	@$(PYTHON) -m lab serve --port $(PORT) $(ARGS)

# kernels first: compiling one takes a busy machine minutes, which would count against the limit of the test that needs it;
# where they are in the cache this takes seconds
test: kernels ## run the tests
	@$(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

test-slow: kernels ## run the tests that take minutes: sabotaged methods, long recoveries
	@$(PYTHON) -m pytest -n 2 --dist loadfile -m slow $(ARGS)

# what other processors compute: older vector units, another order of sums in the BLAS, kernels for any x86-64; and the orders
# of sets that other processes have
PORTABLE := ATEN_CPU_CAPABILITY=default,OMP_NUM_THREADS=1,PYTHONHASHSEED=1 ATEN_CPU_CAPABILITY=avx2,OMP_NUM_THREADS=2,PYTHONHASHSEED=2 \
	MKL_CBWR=COMPATIBLE,OMP_NUM_THREADS=2,PYTHONHASHSEED=3 NUMBA_CPU_NAME=generic,OMP_NUM_THREADS=1,PYTHONHASHSEED=4

test-portable: env ## run the tests as other processors would round, on one and two threads
	@for one in $(PORTABLE); do \
	  echo "== $$one"; env $${one//,/ } $(PYTHON) -m lab kernels warm; \
	  env $${one//,/ } $(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS); \
	done

test-environments: env ## check that every pin has a wheel for Python 3.11 to 3.14, and replay conda's pip step
	@$(PYTHON) -m pytest -m network $(ARGS)

test-browser: kernels ## run the browser tests (needs Chromium)
	@$(PYTHON) -m pytest -n 2 --dist loadfile -m browser $(ARGS)

peers: ## create .venv-peers, the libraries that benchmarks compare with
	@bash .ci/env $(PEERS) requirements-peers.lock peers $(PIP_ARGS)

claims: env ## measure and record every claim with its control, as far as missing or stale (resumable)
	@$(PYTHON) -m lab claim --all --record $(ARGS)

bench: env peers ## measure speed against the peers and write the tables
	@$(PYTHON) -m pytest -m "bench or peers" tests/bench $(ARGS)
	@$(PYTHON) -m tests.bench.frame

kernels: env ## compile every CPU kernel and keep it in the cache
	@$(PYTHON) -m lab kernels warm

gate: env ## compile the Triton kernels for several GPUs without one, and run them in the interpreter
	@bash .ci/gate $(PYTHON) $(GATE) $(PIP_ARGS)
	@PYTHONPATH=$(GATE)/3.9.0 $(PYTHON) -m lab.kernels.aot --also $(GATE)/3.6.0 --csv data/benchmarks/gate.csv $(ARGS)
	@PYTHONPATH=$(GATE)/3.9.0 $(PYTHON) -m pytest -m triton tests/kernels

lint: env ## ruff and mypy
	@$(PYTHON) -m ruff check lab widgets tests
	@$(PYTHON) -m ruff format --check -q lab widgets tests
	@$(PYTHON) -m mypy

clean: ## remove environments, runs, reports and caches
	@rm -rf $(VENV) $(PEERS) $(GATE) data/runs data/reports data/cache data/screenshots build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
