# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own virtual environment in .venv first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# What the C libraries are compiled from, while installing.
NATIVE := hatch_build.py $(wildcard src/unshuffle/_compiled/*.h src/unshuffle/*/_native/*.[ch])

.PHONY: demo test test-portable hostile fuzz lint audit docs wheel check clean

demo: .venv/installed-train
	$(BIN)/unshuffle demo $(ARGS)

# In as many processes as there are cores, each with half of what is left when it runs dry. ARGS="-n 0" is one process,
# as --pdb wants it; ARGS=tests/ops tests a part.
test: .venv/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

# The numeric tests as on another machine: fewer instructions, the C libraries by another compiler, other seeds.
NUMERIC := tests/ops tests/losses tests/methods tests/nets tests/evals tests/test_permutations.py
test-portable: .venv/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python tests/portable.py -- -n auto --dist worksteal -m 'not once' \
	  $(NUMERIC) $(ARGS)

# The attacks of tests/hostile in their long form: more tries of the same code.
hostile: .venv/installed-dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n auto --dist worksteal --long tests/hostile $(ARGS)

# Random calls of the C libraries under the address and undefined-behaviour sanitizers; ARGS="--seconds 600" for longer.
fuzz: .venv/installed-dev
	$(BIN)/python tests/fuzz_native $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

# Dependencies against published advisories: pip-audit where it reaches them, and the list in scripts/ always.
audit:
	test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit packaging
	.venv-audit/bin/python scripts/audit.py $(ARGS)

docs: .venv/installed-dev
	$(BIN)/sphinx-build -W --keep-going -q docs site

# The source distribution and the wheel, in dist/.
wheel:
	$(PYTHON) scripts/build_wheel.py $(ARGS)

.venv/installed-train: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[train]'
	touch $@

.venv/installed-dev: .venv/installed-train
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-audit site dist
