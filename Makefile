# `make train` and `make test` do everything on a fresh machine with Python 3.11 or later and make.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(VENV)/bin/python -m pytest -q -n auto --maxprocesses 4

.PHONY: train test test-all test-jax lint docs clean

train: $(VENV)/installed
	$(VENV)/bin/python scripts/train.py --dataset shapes

# Under 10 minutes on 2 cores: all but the tests marked slow.
test: $(VENV)/installed-test
	$(PYTEST) -m "not slow"

# The slow tests, too (runs killed at every point, several processes, whole detectors on JAX, the notebook),
# and every row of the table of faults (tests/faults), of which `make test` runs a tenth.
test-all: $(VENV)/installed-test
	FRCNN_FAULTS=all $(PYTEST)

# The tests of the network's parts again, and training steps, on Keras' JAX backend.
test-jax: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -q tests/test_jax.py

lint: $(VENV)/installed-test
	$(VENV)/bin/python -m ruff check --quiet --output-format concise .
	$(VENV)/bin/python -m ruff format --quiet --check .
	$(VENV)/bin/python -m mypy

docs: $(VENV)/installed-docs
	$(VENV)/bin/python -m mkdocs build --quiet --strict

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(PIP) -r requirements-test.txt
	touch $@

$(VENV)/installed-docs: $(VENV)/installed requirements-docs.txt
	$(PIP) -r requirements-docs.txt
	touch $@

clean:
	rm -rf $(VENV) site
