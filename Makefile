# Two commands matter: `make reproduce` (the main job) and `make test`.
# Each makes .venv from pyproject.toml on first use, with uv where it is installed, else venv + pip.

PRESET ?= phantom
PYTHON  ?=
BENCH   ?= throughput prefix feed bootstrap growth estimate

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
UV    := $(shell command -v uv 2>/dev/null)

ifeq ($(origin PROFILE),command line)
$(error PROFILE is called PRESET now: give PRESET=$(PROFILE))
endif

CHECK := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help reproduce test figures bench bench-gpu env

help:
	@echo "make reproduce   tables, figures and report from nothing   (PRESET=phantom|reference|smoke)"
	@echo "make test        lint, notebook hygiene, unit tests, doctests, smoke run of every notebook"
	@echo "make figures     redraw every figure from the committed result tables, without torch"
	@echo "make bench       measure speed and growth on the CPU, 25 minutes      (BENCH='throughput feed')"
	@echo "make bench-gpu   measure the CUDA half on one card, 8 minutes"
	@echo "make env         only make the environment                 (PYTHON=python3.12 to choose one)"

reproduce: $(STAMP)
	@$(BIN)/rnfl reproduce --preset $(PRESET)

test: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadscope

figures: $(STAMP)
	@$(BIN)/python -m analysis.figures

bench: $(STAMP)
	@for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-gpu: $(STAMP)
	@$(BIN)/python benchmarks/gpu.py

env: $(STAMP)

$(STAMP): pyproject.toml
ifneq ($(UV),)
	@test -x $(BIN)/python || uv venv --allow-existing --python "$(or $(PYTHON),>=3.11)" $(VENV)
	@$(BIN)/python -c '$(CHECK)' || { echo "$(VENV) holds Python older than 3.11: remove it, then make env PYTHON=python3.12"; exit 1; }
	uv pip install --python $(BIN)/python --compile-bytecode -e '.[dev]'
else
	@$(or $(PYTHON),python3) -c '$(CHECK)' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed, found: $$($(or $(PYTHON),python3) --version 2>&1)."; \
	  echo "Install one and name it, for instance: make env PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) with pip; this takes about three minutes."
	@test -x $(BIN)/pip || $(or $(PYTHON),python3) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
endif
	@touch $@
