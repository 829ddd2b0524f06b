# Everything a developer runs. Needs make and Python 3.11 or newer, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-slow coverage lint format docs notebooks lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything as locked; once, and again when the lock changes

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "didgen needs Python 3.11 or newer, and '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>/dev/null || echo 'not found');" \
	        "name another one: make install PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The stamp is touched last: an install that was cut short is done again.
$(INSTALLED): requirements.lock pyproject.toml | $(UV)
	@echo "Installing what requirements.lock names; the first time takes some minutes"
	@# Where Python may write no bytecode, each start would compile torch and diffusers: 15 seconds.
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(INSTALLED) ## Make a small data set with the bundled model into runs/demo, and verify it
	$(BIN)/didgen augment --out runs/demo
	$(BIN)/didgen verify runs/demo

# The tests' models are tiny: a process for each core, of one thread, takes about half the time.
test: $(INSTALLED) ## Run the tests, without the slow ones and those that need a GPU
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile

test-quick: $(INSTALLED) ## Run the tests nearest to what changed against main, in about a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile --changed main || [ $$? -eq 5 ]

coverage: $(INSTALLED) ## Run the tests like `make test`, and print which lines none of them reached
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile --cov

# pytest exits with 5 where no test is marked slow.
test-slow: $(INSTALLED) ## Run the slow tests
	$(BIN)/pytest -q -m "slow and not gpu" --timeout 1800 || [ $$? -eq 5 ]

lint: $(INSTALLED) ## Check style, format, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/mypy

format: $(INSTALLED) ## Sort imports, mend what can be mended, and format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Build the site into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

notebooks: $(INSTALLED) ## Write the notebooks of the tutorials anew from their pages
	$(BIN)/python docs/site/notebooks.py

lock: $(UV) ## Write requirements.lock anew from pyproject.toml
	$(UV) pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url \
	    --extra test --extra docs pyproject.toml -o requirements.lock

clean: ## Remove caches and build products; .venv and runs stay
	rm -rf build dist .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name $(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
