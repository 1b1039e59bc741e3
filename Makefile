# `make drive` trains a 19-neuron policy that drives, in bad weather too; `make test` runs the tests. Both set
# up `.venv` by themselves, and so do the others.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
DOCS_STAMP := .venv/installed-docs

.PHONY: drive test test-slow check docs clean

drive: $(STAMP)
	$(BIN)/python scripts/train.py drive --tau-s 0.02 0.5 --conditions noise:1-5 all:1-3

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n auto

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -n auto

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --builder html docs build/docs
	$(BIN)/python docs/check_site.py build/docs
	@echo "open build/docs/index.html"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[stack,dev,scale]"
	touch $(STAMP)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[stack,dev,scale,docs]"
	touch $(DOCS_STAMP)

clean:
	rm -rf .venv build dist
