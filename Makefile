# Every target first does the set-up it needs; the set-up runs again when the lock file changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Compiled loops lie beside their sources; made when these change, so that no run waits for them.
LOOPS  := $(VENV)/.compiled
# The alternatives that benches run beside ours live apart: some pin older versions of what we have.
PEERS  := .venv-bench
STREAM := .venv-bench-stream
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Images often forbid Python to keep its bytecode; demo and tests start many processes that would all compile every module.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup lock demo test check format bench soak mutants gpu-check docs
.DEFAULT_GOAL := help

help: ## list all targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: $(STAMP) $(LOOPS) ## create .venv from the lock file and compile all loops

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] < (3, 14) else f"Python {v[0]}.{v[1]} found; webtext needs 3.11 to 3.13: make setup PYTHON=python3.11")'
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# Nothing depends on it: what fails here is tried again at the first use.
$(LOOPS): $(STAMP) $(wildcard corpus/compiled.py webtext/precompile.py clean/learned/*.py dedup/kernels.py dedup/loops.py)
	-$(BIN)/python -m webtext.precompile && touch $(LOOPS)

# A new lock file: what the newest versions within pyproject.toml's ranges resolve to, in a fresh environment.
lock: ## write a new lock file from the ranges of pyproject.toml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0 setuptools wheel
	build/lock/bin/python -m pip install --quiet --editable '.[all,dev]'
	( echo '# Made by `make lock`. Exact versions of everything that `make setup` installs.'; \
	  build/lock/bin/python -m pip list --format=freeze --exclude pip --exclude-editable | sed 's/+cpu//' ) > requirements.lock
	rm -rf build/lock

demo: setup ## build a small corpus and model, offline, in minutes
	$(BIN)/webtext demo

test: setup ## run the tests
	# Three processes for two cores: tests of kills, pace and jobs mostly wait.
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

check: setup ## check format, lint, types and architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_fence.py tests/test_prose.py

format: setup ## format and fix the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(PEERS)/.installed $(STREAM)/.installed ## run every bench beside other projects
	failed=; for name in $$(grep -l '__main__' bench/*.py | sed 's/^bench.//; s/\.py$$//'); do \
	  case $$name in stream) home=$(STREAM);; *) home=$(PEERS);; esac; \
	  $$home/bin/python -m bench.$$name || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "these benches did not run:$$failed" >&2; exit 1; }

$(PEERS)/.installed: $(STAMP) bench/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement requirements.lock
	$(PEERS)/bin/python -m pip install --quiet --requirement bench/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --no-deps lm_eval==0.4.13  # its janitor; as a whole it asks for much else
	touch $@

$(STREAM)/.installed: bench/requirements-stream.txt
	test -x $(STREAM)/bin/python || $(PYTHON) -m venv $(STREAM)
	$(STREAM)/bin/python -m pip install --quiet --requirement bench/requirements-stream.txt
	touch $@

mutants: setup ## put small faults into pure modules and count those that tests notice
	$(BIN)/python -m tools.mutants

soak: setup ## run the long tests
	$(BIN)/python -m pytest -m soak

gpu-check: setup ## train for 50 steps on every GPU of this machine
	$(BIN)/python -m tools.gpu_check

docs: setup ## build the documentation site into build/site; a dead link fails
	$(BIN)/python -m tools.draw_pictures
	$(BIN)/python -m tools.generate_docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	$(BIN)/python -m pytest -n 0 tests/test_docs.py tests/tools/test_site.py tests/shards/test_strangers.py
	@echo "the site: build/site/index.html"
