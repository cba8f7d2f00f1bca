# These words are the whole toolbox; each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CODE = nmcore backends tests benchmarks examples

.PHONY: example test test-all lint types format clean

# Compress the network that ships with the project and show what became of its accuracy.
example: $(VENV)/.ready
	$(BIN)/python examples/fashion_mnist/compare.py

test: $(VENV)/.ready
	$(BIN)/python -m pytest

test-all: $(VENV)/.ready
	$(BIN)/python -m pytest -m ''

lint: $(VENV)/.ready
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(VENV)/.ready
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

$(VENV)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
