# Needs only python3 (>= 3.11) and make. Every target shares one environment, .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint format bench clean

demo: .venv/ready
	cd examples/digits && ../../$(BIN)/python train.py

test: .venv/ready
	$(BIN)/python -m pytest -q -m "not long" $(ARGS)

test-all: .venv/ready
	$(BIN)/python -m pytest -q $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[benchmarks]"
	$(BIN)/python benchmarks/run.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
