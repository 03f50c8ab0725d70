# Two commands for a fresh machine with Python >= 3.11 and nothing else: `make demo`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test environments docs clean

demo: .venv/demo.stamp
	$(BIN)/firstlight demo --out firstlight-demo

test: .venv/test.stamp
	BIN=$(BIN) ./checks.sh

# Each extra alone, in fresh environments; wants the network, and takes some minutes.
environments: .venv/bin/python
	PYTHON=$(BIN)/python tests/environments/run.sh

docs: .venv/test.stamp
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Firstlight needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# torch first and by its exact version: a looser range can fetch several gigabytes.
.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) torch
	$(INSTALL) --editable '.[demo]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt requirements-test.txt | .venv/demo.stamp
	$(INSTALL) --requirement requirements-test.txt
	@touch $@

clean:
	rm -rf .venv docs/_build firstlight-demo
