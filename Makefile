# One target for each thing people do here. Each sets up what it needs in .venv, so that a bare machine with Python and make will do.
PYTHON ?= python3
BIN := .venv/bin
AZURITE := $(CURDIR)/.cache/azurite/node_modules/.bin/azurite-blob
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo models serve quick test check format faults combinations bench docs clean

help:
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: .venv/.gallery ## run photographs, speech and data through a real server; results land in demo-output/
	@[ -n "$(NO_MODELS)" ] || $(MAKE) --no-print-directory --keep-going models || echo "going on without what could not be installed"
	@$(BIN)/python examples/demo.py

# about 670 MB in .venv: speech, objects in pictures, print; "make demo NO_MODELS=1" does without
models: .venv/.transcribe .venv/.detect .venv/.ocr

serve: .venv/.gallery ## serve the gallery, as far as it is installed, on http://127.0.0.1:8000 until Ctrl-C
	@$(BIN)/offload serve examples/everything.py --port 8000

quick: .venv/.dev ## the fast tests: unit, conformance, http; under a minute
	@$(BIN)/python -m pytest -q -n 2 $(wildcard tests/unit tests/conformance tests/http)

test: check ## everything: the checks, then all tests
	@sh tests/install_tools.sh
	@$(BIN)/python -m pytest -q -n 3 --dist worksteal --ignore=tests/tidy

check: .venv/.dev ## format, lint, types, and the rules of the house
	@$(BIN)/ruff format --check --quiet . || { echo "make check: badly formatted; 'make format' puts it right"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/tidy

format: .venv/.dev ## put layout and import order right
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

faults: .venv/.dev ## deep fault runs: many simulated lives, and as root many power cuts
	@SIMULATION_SEEDS=$(or $(SEEDS),10000) $(BIN)/python -m pytest -q -n 2 tests/simulation
	@BROKER_ROUNDS=$(or $(ROUNDS),50) $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/faults/test_brokers.py
	@BOTH_ROUNDS=$(or $(ROUNDS),50) $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/faults/test_both_killed.py
	@POWER_CUTS=$(or $(CUTS),60) $(BIN)/python -m pytest -q -s tests/faults/test_power_cut.py
	@NODE_ROUNDS=$(or $(ROUNDS),20) $(BIN)/python -m pytest -q tests/faults/test_many_nodes.py
	@S3_KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest -q tests/faults/test_s3_away.py
	@SCHEDULE_KILLS=$(or $(KILLS),30) $(BIN)/python -m pytest -q -k killed tests/end_to_end/test_schedules.py tests/end_to_end/test_schedules_of_nodes.py
	@STORM_SEEDS=$(or $(ROUNDS),50) $(BIN)/python -m pytest -q tests/faults/test_workers_storm.py
	@test -x $(AZURITE) || npm install --silent --no-audit --no-fund --prefix .cache/azurite azurite@3.37.0
	@AZURITE=$(AZURITE) $(BIN)/python -m pytest -q -k "azure or gcs" tests/conformance/test_blobs.py tests/end_to_end/test_other_stores.py
	@CELERY_DEEP=1 $(BIN)/python -m pytest -q tests/end_to_end/test_celery.py tests/faults/celery_losses.py

combinations: .venv/.dev ## the stories on every store, broker and place for files; a table goes to bench/results/
	@sh tests/install_tools.sh
	@$(BIN)/python -m tests.combinations $(if $(LONG),--long) $(COMBINATIONS)

bench: .venv/.bench ## measure on this machine; prints a table and writes it to bench/results/
	@$(BIN)/python -m bench

docs: .venv/.docs ## build the documentation as pages that work offline, in site/
	@$(BIN)/python docs/generate.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

clean: ## remove everything that make made
	rm -rf .venv .cache .offload .hypothesis .ruff_cache demo-output site dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
		|| { echo "offload needs Python 3.11 to 3.14, and $(PYTHON) is not; try: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }

# .venv/.dev is there when the extra "dev" is installed in the versions of constraints.txt, and so on
.venv/.%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up .venv for $* …"
	@$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@
