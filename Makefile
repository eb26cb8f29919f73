# The user's front door. `make help` prints every target.
SHELL := /bin/bash
PY := .venv/bin/python
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup lock

help: ## print this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	python3 -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip sync --quiet --python $(PY) --require-hashes requirements.lock
	$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## resolve requirements.lock anew from pyproject.toml
	$(PY) -m uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 --extra dev \
		--no-emit-index-url pyproject.toml --output-file requirements.lock
