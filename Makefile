# `make train` and `make test` do everything on a fresh machine with Python 3.11 or later and make.

PYTHON ?= python3
VENV := .venv

.PHONY: train test test-all clean

train: $(VENV)/installed
	$(VENV)/bin/python scripts/train.py --dataset shapes

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -q -n auto --maxprocesses 4

# Every row of the table of faults (tests/faults), too; `make test` runs a tenth of them.
test-all: $(VENV)/installed-test
	FRCNN_FAULTS=all $(VENV)/bin/python -m pytest -q -n auto --maxprocesses 4

$(VENV)/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV)
