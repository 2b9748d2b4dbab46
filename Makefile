# Two commands, each of which sets itself up on a fresh machine (Python 3.11 or later with venv, and make):
#   make bench   train and evaluate a prototypical network on procedural characters, and print its table
#   make test    every check that a change must pass
# `make --keep-going test` runs the checks that follow a failed one too.

PYTHON ?= python3
# Test processes; each uses one thread.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
SCRIPTS := $(shell find benchmarks -name '*.py' 2>/dev/null)
SOURCES := metashot tests docs/conf.py $(SCRIPTS)
# editable_mode=compat: found by its path; otherwise a clone's own folder, also called metashot, hides the package from scripts beside it.
# --no-compile: most of what torch brings is never imported, and what is imported is compiled then.
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --config-settings editable_mode=compat

.DEFAULT_GOAL := help
# `make --jobs=2 test` works on two checks at a time. `bench` and `test` at once would both set up the environment.
ifneq ($(filter bench,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
.PHONY: help bench test learn2learn format check-format check-style check-types check-imports check-docs check-tests docs clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

bench: $(VENV)/installed
	@echo "== metashot bench glyphs-5w1s-protonet"
	@$(BIN)/metashot bench glyphs-5w1s-protonet

# The tests come last, so that their summary closes the output.
test: check-format check-style check-types check-imports check-docs check-tests

check-format: $(VENV)/installed-test
	@echo "== format (ruff format --check)"
	@$(BIN)/ruff format --check $(SOURCES)

check-style: $(VENV)/installed-test
	@echo "== style (ruff check)"
	@$(BIN)/ruff check --output-format concise $(SOURCES)

check-types: $(VENV)/installed-test
	@echo "== types (mypy --strict)"
	@$(BIN)/mypy metashot $(SCRIPTS)

check-imports: $(VENV)/installed-test
	@echo "== imports (lint-imports)"
	@$(BIN)/lint-imports --no-logo

docs check-docs: $(VENV)/installed-test
	@echo "== docs (sphinx-build, warnings are errors)"
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

check-tests: $(VENV)/installed-test $(if $(METASHOT_LEARN2LEARN),$(VENV)/learn2learn)
	@echo "== tests (pytest; METASHOT_DATA=$${METASHOT_DATA:-unset}, METASHOT_REFERENCE=$${METASHOT_REFERENCE:-unset})"
	@$(BIN)/python -m pytest --quiet --numprocesses=$(JOBS) --dist=loadfile -rfEs $(PYTEST_ARGS)

learn2learn: $(VENV)/learn2learn

format: $(VENV)/installed-test
	@echo "== format (ruff)"
	@$(BIN)/ruff check --quiet --fix-only $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

clean:
	rm -rf $(VENV) build docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A changed requirement is newer than the stamps and installs again; otherwise a second call costs nothing.
$(VENV)/bin/python:
	@echo "== new environment in $(VENV) ($(PYTHON))"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing metashot; the first time this takes some minutes"
	@rm -rf metashot.egg-info # an old one would hide new entry points from whatever runs in this folder
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing metashot with its test and docs tools; the first time this takes some minutes"
	@rm -rf metashot.egg-info
	@$(INSTALL) --editable '.[test,docs,plots]'
	@touch $@ $(VENV)/installed

# Without it, the tests that compare with it are skipped.
$(VENV)/learn2learn: $(VENV)/installed-test benchmarks/learn2learn/build.py
	@echo "== learn2learn, the optional companion (a minute or two the first time)"
	@$(BIN)/python benchmarks/learn2learn/build.py --install
	@touch $@
