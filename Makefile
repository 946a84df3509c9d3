# Every target first does the set-up it needs; the set-up runs again when the lock file changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test check format bench soak gpu-check docs clean-demo

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] < (3, 14) else f"Python {v[0]}.{v[1]} found; webtext needs 3.11 to 3.13: make setup PYTHON=python3.11")'
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: setup
	$(BIN)/python -m corpus.demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_fence.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	for name in $$(ls bench | sed -n 's/^\([a-z]*\)\.py$$/\1/p' | grep -v measure); do $(BIN)/python -m bench.$$name; done

soak: setup
	$(BIN)/python -m pytest -m soak

gpu-check: setup
	$(BIN)/python -m train.gpu_check

docs: setup
	$(BIN)/python -m corpus.settings > docs/settings.md
