# Two commands: `make drive` trains a 19-neuron policy that drives, `make test` runs the tests.
# Each sets up `.venv` by itself.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: drive test test-slow check clean

drive: $(STAMP)
	$(BIN)/python scripts/train.py drive

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n auto

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n auto

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[stack,dev]"
	touch $(STAMP)

clean:
	rm -rf .venv build dist
