# These words are the whole toolbox; each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# As many tests at a time as there are processors, each with one thread, unless told otherwise.
SIDE_BY_SIDE = -n auto --dist worksteal
test test-all test-oldest: export OMP_NUM_THREADS ?= 1
test test-all test-oldest: export NUMBA_NUM_THREADS ?= 1
CODE = nmcore backends tests benchmarks examples docs
OLDEST = .venv-oldest

.PHONY: FORCE example test test-all test-oldest docs dist lint types format clean

# Compress the network that ships with the project and show what became of its accuracy.
example: $(VENV)/.ready
	$(BIN)/python examples/fashion_mnist/compare.py

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-all: $(VENV)/.ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m ''

# The tests with the lower bounds of setup.cfg; PYTHON should be the oldest that is supported.
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint tests/oldest.txt --editable '.[gpu,test]'
	$(OLDEST)/bin/python -m pytest $(SIDE_BY_SIDE)

# The pages, in site/; MkDocs 2, of which the theme warns, is excluded in setup.cfg.
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What would be published, in dist/, tried in an environment that has nothing else.
dist: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m build
	$(PYTHON) -m venv dist/venv
	for wheel in dist/*.whl; do dist/venv/bin/python -m pip install --quiet "$$wheel[cpu]"; done
	cd dist && venv/bin/nmcore --version && venv/bin/nmcore compress \
	    ../examples/fashion_mnist/lenet5.onnx small.onnx --ratio 0.5 --report report.html
	rm -r dist/venv dist/small.onnx dist/report.html

lint: $(VENV)/.ready
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.ready
	$(BIN)/mypy

format: $(VENV)/.ready
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

$(VENV)/.ready: setup.cfg pyproject.toml $(VENV)/.modules
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[gpu,test,dev,docs]'
	touch $@

# An editable install links the modules that there are, so it is made anew once that list changes.
$(VENV)/.modules: FORCE
	@mkdir -p $(VENV)
	@find nmcore backends -name '*.py' | sort > $@.now
	@cmp -s $@.now $@ || cp $@.now $@

clean:
	rm -rf $(VENV) $(OLDEST) build dist site *.egg-info
