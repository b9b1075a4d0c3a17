# Two commands for a newcomer; each does all of its own set-up in .venv.
#   make demo   make photos of parts, scan them, say where the report is
#   make test   run the tests (real photos and golden files too, if BLEMISH_DATA names their folder)

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check
.DEFAULT_GOAL := demo

demo: .venv/installed
	$(BIN)/blemish demo --out demo

test: .venv/installed-dev
	$(BIN)/python -m pytest

# What CI runs besides the tests: lint, format, types, import contracts.
check: .venv/installed-dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
