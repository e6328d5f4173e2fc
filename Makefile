# Needs only python3 (>= 3.11) and make. Every target shares one environment, .venv.
PYTHON ?= python3
BIN := .venv/bin
# One thread: several trainings run side by side, and their threads would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

.PHONY: demo test test-long test-all test-endings lint format bench clean

demo: .venv/ready
	cd examples/digits && ../../$(BIN)/python train.py

test: .venv/ready # minutes
	$(PYTEST) -m "not long" $(ARGS)

test-long: .venv/ready # the rest: the long scenario matrices, every way to install
	$(PYTEST) -n 2 -m long $(ARGS)

test-all: .venv/ready # both
	$(PYTEST) $(ARGS)

test-endings: .venv/ready # the matrix of endings, every cell as observed
	$(PYTEST) -s tests/scenarios/test_endings.py $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/test_house.py

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[benchmarks]"
	$(BIN)/python benchmarks/run.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed; name one with PYTHON=python3.x")'
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian install python3-venv"; exit 1; }
	@echo "Setting up .venv; the first time this takes some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
