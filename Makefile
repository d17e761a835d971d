# Commands for maintainers; users call bin/setup, bin/demo and bin/test. `make help` lists everything.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin
# What to run, as pytest names it, and further arguments for the program behind a command.
TEST := tests/unit
ARGS :=
NAME :=
INPUTS :=
SEED :=

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv with the tools for tests, lint and types
	@bin/setup dev

.PHONY: hooks
hooks: setup ## Install the git hooks of .pre-commit-config.yaml
	$(PY)/pre-commit install

.PHONY: test
test: setup ## Run some tests, unit tests by default: make test TEST=tests/unit/test_packs.py ARGS="-k artist"
	$(PY)/pytest $(TEST) $(ARGS)

.PHONY: test-thorough
test-thorough: setup ## Run what bin/test leaves out: every fault, kill, endpoint and database by itself, and slow commands
	$(PY)/pytest -n 5 -m "thorough and not soak"

.PHONY: test-all
test-all: test-thorough ## Run all tests, as CI does
	bin/test

.PHONY: coverage
coverage: setup ## Run all tests and show which lines of the product they reach
	$(PY)/coverage erase
	PYTEST_ADDOPTS="--cov --cov-append --cov-report=" $(MAKE) test-all
	$(PY)/coverage report

.PHONY: lint
lint: setup ## Check style and formatting
	$(PY)/ruff check .
	$(PY)/ruff format --check .

.PHONY: format
format: setup ## Fix what the formatter and the linter can fix
	$(PY)/ruff check --fix .
	$(PY)/ruff format .

.PHONY: types
types: setup ## Check types, and that SQL is never built from strings
	$(PY)/mypy
	$(PY)/basedpyright aboutness_assets/database

.PHONY: contracts
contracts: setup ## Check which room imports which, and that every dependency is declared
	$(PY)/lint-imports
	$(PY)/deptry .

.PHONY: audit
audit: setup ## Check the lock files: pins, hashes, known vulnerabilities
	$(PY)/python -m tools.audit_locks

.PHONY: check
check: lint types contracts audit ## Everything CI checks besides the tests

.PHONY: lock
lock: ## Resolve the dependencies and write both lock files; upgrade with ARGS=--upgrade
	tools/lock $(ARGS)

.PHONY: benchmark
benchmark: setup ## Run benchmarks and write benchmarks/results: make benchmark NAME=cpu; all without NAME
	$(PY)/python -m benchmarks $(NAME) $(ARGS)

.PHONY: reliability
reliability: setup ## Run the faults and kills and write docs/reliability.md
	tools/reliability $(ARGS)

.PHONY: databases
databases: setup ## Try every case of a database and write docs/databases.md
	tools/databases $(ARGS)

.PHONY: costs
costs: setup ## Run the money faults and a trial backfill of 10,000 songs and write docs/costs.md
	tools/costs $(ARGS)

.PHONY: hosts
hosts: setup ## Run a backfill over several hosts (network namespaces) with faults; needs root: make hosts ARGS="--songs 5000"
	$(PY)/python -m tools.hosts $(ARGS)

.PHONY: endpoints
endpoints: setup ## Write docs/endpoints.md from the table of cases that the tests run
	$(PY)/python -m tools.endpoints_report > docs/endpoints.md

.PHONY: fuzz
fuzz: setup ## Fuzz every parser: make fuzz INPUTS=1000000 SEED=1
	$(PY)/python -m tools.fuzz_campaign $(INPUTS) $(SEED)

.PHONY: screenshots
screenshots: setup ## Take the pictures of docs/pictures from the UI; needs Chromium
	$(PY)/pytest tests/acceptance/test_ui.py --pictures docs/pictures $(ARGS)

.PHONY: asset-graph
asset-graph: setup ## Update the snapshot of all assets, checks, jobs and sensors that a test compares
	$(PY)/python -m tools.asset_graph

.PHONY: clean
clean: ## Delete caches and what coverage measured; .venv and .aboutness stay
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
