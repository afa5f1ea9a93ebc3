# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own virtual environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs check clean

demo: .venv/installed-train
	$(BIN)/unshuffle demo $(ARGS)

test: .venv/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

docs: .venv/installed-dev
	$(BIN)/sphinx-build -W --keep-going -q docs site

.venv/installed-train: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[train]'
	touch $@

.venv/installed-dev: .venv/installed-train
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv site dist
