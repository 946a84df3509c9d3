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

.PHONY: help setup lock demo test explore check format bench soak mutants gpu-check docs dist
.DEFAULT_GOAL := help

help: ## list all targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: $(STAMP) $(LOOPS) ## create .venv from the lock file and compile all loops

$(STAMP): requirements/dev.lock requirements/torch.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] < (3, 14) else f"Python {v[0]}.{v[1]} found; webtext needs 3.11 to 3.13: make setup PYTHON=python3.11")'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements/dev.lock
	$(BIN)/python -m pip install --quiet --requirement requirements/torch.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# Nothing depends on it: what fails here is tried again at the first use.
$(LOOPS): $(STAMP) $(wildcard corpus/compiled.py webtext/precompile.py clean/learned/*.py clean/learned/features/*.py clean/soft_failures/*.py clean/rewrite/*.py dedup/*.py dedup/*/*.py)
	-$(BIN)/python -m webtext.precompile && touch $(LOOPS)

# Versions that are locked stay, unless UPGRADE=--upgrade asks for the newest within pyproject.toml's ranges.
# Three closed sets with digests: crawl and clean nodes, everything that runs, and the developer's tools as well.
lock: ## write the lock files from the ranges of pyproject.toml
	test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && build/lock/bin/python -m pip install --quiet uv; }
	$(call locked,nodes,--extra nodes,)
	$(call locked,all,--extra all,--constraint requirements/nodes.lock)
	$(call locked,dev,--extra all --extra dev,--constraint requirements/all.lock)

# Name, extras, constraints. A local build of torch in PIP_FIND_LINKS keeps its accelerator's packages out.
locked = build/lock/bin/uv pip compile pyproject.toml requirements/build.in $(2) $(3) --quiet --python-version 3.11 \
	--generate-hashes --constraint requirements/torch.txt --no-emit-package torch --no-annotate --custom-compile-command 'make lock' $(UPGRADE) \
	--find-links "$(or $(PIP_FIND_LINKS),requirements)" --output-file requirements/$(1).lock

demo: setup ## build a small corpus and model, offline, in minutes
	$(BIN)/webtext demo

test: setup ## run the tests
	# Four processes for two cores: tests of kills, pace and jobs mostly wait.
	$(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder

explore: setup ## run the property tests on examples that differ each time
	WEBTEXT_EXAMPLES=explore $(BIN)/python -m pytest -n 3 $$(grep -rl 'from hypothesis' tests --include='test_*.py')

check: setup ## check format, lint, types and architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_fence.py tests/test_prose.py

format: setup ## format and fix the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(PEERS)/.installed $(STREAM)/.installed ## run every bench beside other projects
	failed=; for name in $$(grep -rl '__main__' --include='*.py' bench | sed 's/^bench.//; s/\.py$$//; s|/__main__$$||; s|/|.|g' | sort); do \
	  case $$name in shards.stream) home=$(STREAM);; *) home=$(PEERS);; esac; \
	  $$home/bin/python -m bench.$$name || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "these benches did not run:$$failed" >&2; exit 1; }

$(PEERS)/.installed: $(STAMP) bench/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements/dev.lock
	$(PEERS)/bin/python -m pip install --quiet --requirement requirements/torch.txt
	$(PEERS)/bin/python -m pip install --quiet --requirement bench/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --no-deps lm_eval==0.4.13  # its janitor; as a whole it asks for much else
	touch $@

$(STREAM)/.installed: bench/requirements-stream.txt
	test -x $(STREAM)/bin/python || $(PYTHON) -m venv $(STREAM)
	$(STREAM)/bin/python -m pip install --quiet --requirement bench/requirements-stream.txt
	touch $@

# Archives for an index, and bills of materials (CycloneDX) of the lock files.
dist: setup ## build sdist, wheel and bills of materials
	rm -rf dist build/sbom && mkdir -p build/sbom
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	test -x build/bom/bin/cyclonedx-py || { $(PYTHON) -m venv build/bom && build/bom/bin/python -m pip install --quiet --requirement requirements/bom.txt; }
	for name in nodes all; do build/bom/bin/cyclonedx-py requirements requirements/$$name.lock --output-file build/sbom/$$name.json || exit 1; done

mutants: setup ## put small faults into pure modules and count those that tests notice
	$(BIN)/python -m tools.mutants

soak: setup ## run the long tests
	$(BIN)/webtext soak --corpus build/soak
	# An S3 server of another maker, which ignores conditional writes.
	command -v npm >/dev/null && npm install --silent --no-audit --prefix build/s3rver s3rver@3.7.1 || echo "no npm: s3rver is left out"
	$(BIN)/python -m pytest -m soak

gpu-check: setup ## train for 50 steps on every GPU of this machine
	$(BIN)/python -m tools.gpu_check

docs: setup ## build the documentation site into build/site; a dead link fails
	$(BIN)/python -m tools.draw_pictures
	$(BIN)/python -m tools.draw_window
	$(BIN)/python -m tools.generate_docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	$(BIN)/python -m pytest -n 0 tests/test_docs.py tests/tools/test_site.py tests/shards/test_strangers.py
	@echo "the site: build/site/index.html"
