# `make demo` and `make test` do all the set-up they need, into .venv. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
# Two processes of one thread each: the tests are many small tensors. Files go in order: by default those with few tests
# come last, and they are the longest, so that one process would work alone for minutes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast soak check lint format site clean

# The main job on scikit-learn's handwritten digits within TIME, planned by what is measured here; the results are in
# runs/demo. One thread: for images of 8x8 a second one brings nothing (22 against 25 ms per training step on 2 idle cores
# of an AMD EPYC), and where another program holds a core, two that wait for each other took 5,000 ms.
TIME ?= 5min
demo: export OMP_NUM_THREADS = 1
demo: .venv/ready
	$(BIN)/python -m dnas.cli.demo runs/demo --time $(TIME)
	@echo "Everything is in runs/demo: architecture.json is what was found, baseline/comparison.txt how good it is,"
	@echo "evaluation/confusion.csv what it mixes up, export/ what a device runs, config.yaml how it all came about."
	@echo "Curves: $(BIN)/tensorboard --logdir runs/demo"

test: .venv/ready
	$(PYTEST) -m "not soak"

test-fast: .venv/ready
	$(PYTEST) -m "not slow and not soak"

soak: .venv/ready
	$(BIN)/python -m pytest -m soak
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest tests/test_properties.py

# What CI runs besides the tests and the demo.
check lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The pages of docs/, all commands and all docstrings as a site; warnings are errors, and nothing is loaded from elsewhere.
site: .venv/ready
	$(BIN)/python website/build.py

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	@# Files are compiled when they are first imported: compiling all of them takes a minute, and most never are.
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .demo build dist
