# Two commands do everything on a machine that has Python 3.11 or 3.12, make and git: `make fit` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q

.PHONY: fit test lint clean

# The main job on the built-in synthetic corpus.
fit: $(VENV)/lean
	$(BIN)/python -m pipelines.prepare --corpus synthetic --store-waveform

test: $(VENV)/all
	$(BIN)/python -m pytest

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

# What running needs (no torch): a few minutes and about 3 GB.
$(VENV)/lean: setup.cfg pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 12) else "$(PYTHON) is Python %d.%d: this needs 3.11 or 3.12, for instance make PYTHON=python3.11 $(MAKECMDGOALS)" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@echo "installing the packages of setup.cfg into $(VENV), a few minutes the first time"
	$(PIP) -c requirements.txt -e .
	@touch $@

# Everything, the extras and the tools of development among it.
$(VENV)/all: $(VENV)/lean
	@echo "installing requirements.txt into $(VENV), a few minutes the first time"
	$(PIP) -r requirements.txt
	@touch $@
