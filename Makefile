# `make demo` and `make test` do all the set-up they need, into .venv. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
# Two processes of one thread each: the tests are many small tensors.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: demo test test-fast soak check lint format clean

demo: .venv/ready
	$(BIN)/python examples/demo.py

test: .venv/ready
	$(PYTEST) -m "not soak"

test-fast: .venv/ready
	$(PYTEST) -m "not slow and not soak"

soak: .venv/ready
	$(BIN)/python -m pytest -m soak

# What CI runs besides the tests and the demo.
check lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .demo build dist
