# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
ROWS ?= 27004
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo flink-demo template-demo test soak bench check lint format types contracts docs site build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install the package with all that tests and demo need

# A stamp, so that the second call costs nothing; what is compiled is so again when it changes.
$(INSTALLED): pyproject.toml setup.py $(wildcard beam_dynamodb/*.pyx beam_dynamodb/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or later is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## Load real flights into an embedded DynamoDB (ROWS=all for the whole year)
	@$(BIN)/python -m pipelines.demo --rows=$(ROWS)

flink-demo: ROWS = 5000
flink-demo: $(INSTALLED) ## The same on Flink, then a streaming job (needs Java 17 and Maven)
	@$(BIN)/python -m pipelines.flink_demo --rows=$(ROWS)

template-demo: ROWS = 5000
template-demo: $(INSTALLED) ## Run a Dataflow template here, against local Cloud Storage and DynamoDB
	@$(BIN)/python -m templates.demo --rows=$(ROWS)

test: $(INSTALLED) ## Run all tests (PYTEST_ARGS=… goes to pytest)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

soak: ROWS = 1000000
soak: SEED = 1
soak: $(INSTALLED) ## Write a million changes against an endpoint that keeps failing (ROWS=… SEED=…)
	@$(BIN)/python -m benchmarks.soak --rows=$(ROWS) --seed=$(SEED)

bench: ROWS = 300000
bench: $(INSTALLED) ## Measure against other ways to write (ROWS=… REPEAT=… ONLY=… ENDPOINT=… TABLE=…)
	@$(BIN)/python -m benchmarks --rows=$(ROWS) $(foreach option,REPEAT ONLY ENDPOINT TABLE REGION OUTPUT,\
	  $(if $($(option)),--$(shell echo $(option) | tr A-Z a-z)='$($(option))'))

check: lint types contracts site test ## Everything CI asks for: style, types, contracts, pages, tests

lint: $(INSTALLED) ## Style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Put the code into the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy --strict

contracts: $(INSTALLED) ## Who may import whom
	$(BIN)/lint-imports

docs: $(INSTALLED) ## Write anew what is made from the options: tables of the docs, templates' metadata
	$(BIN)/python docs/options_table.py
	$(BIN)/python -m templates.metadata

site: $(INSTALLED) ## Build the documentation's pages into build/site; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

build: $(INSTALLED) ## Build the sdist and the wheel into dist/
	$(BIN)/python -m build

clean: ## Remove what was built, but not .venv and the fetched servers
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
