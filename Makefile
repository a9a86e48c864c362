# Everything is set up inside the clone: an environment in .venv, pinned by constraints.txt, torch first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# SevenNet and MACE need different versions of e3nn.
SEVENNET ?= $(abspath $(VENV)-sevenn)
# The CPU build is enough for the quickstart; on a machine with a GPU choose your own.
TORCH ?= torch==2.13.0
# One process of tests a core, with one thread each.
PARALLEL := OMP_NUM_THREADS=1
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: quickstart n2 test test-statistics test-slow test-dft test-all lint docs-check clean

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	@touch $@

$(VENV)/.worker: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[worker]'
	@touch $@

$(VENV)/.dev: $(VENV)/.worker
	$(PIP) install --quiet --constraint constraints.txt --editable '.[worker,vasp,dev]'
	@touch $@

$(VENV)/.dft: $(VENV)/.dev scripts/install_gpaw.sh scripts/install_sevennet.sh
	bash scripts/install_gpaw.sh $(BIN)/python
	TORCH='$(TORCH)' bash scripts/install_sevennet.sh '$(SEVENNET)' $(PYTHON)
	@touch $@

quickstart: $(VENV)/.worker  ## set up, then run SLHMC on rutile TiO2
	$(BIN)/aiida-slhmc quickstart

n2: $(VENV)/.dev  ## N2 from a minimal basis to triple zeta, with real quantum chemistry
	OMP_NUM_THREADS=1 $(BIN)/python scripts/two_bases.py slhmc-run/n2

test: $(VENV)/.dev  ## set up, then pass the tests
	$(PARALLEL) $(BIN)/python -m pytest -n auto --dist loadfile

test-statistics: $(VENV)/.dev  ## exactness of the sampling: fixed seeds, a table of z-scores
	$(PARALLEL) $(BIN)/python -m pytest -m statistics -n auto --dist loadfile

test-slow: $(VENV)/.dev  ## minutes rather than seconds
	$(PARALLEL) $(BIN)/python -m pytest -m slow -n auto --dist loadfile

test-dft: $(VENV)/.dft  ## real DFT (GPAW) and engines in other environments (SevenNet)
	$(PARALLEL) SLHMC_SEVENNET='$(SEVENNET)' $(BIN)/python -m pytest -m dft -n auto --dist loadfile

test-all: test test-statistics test-slow test-dft

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(SEVENNET) build dist *.egg-info
