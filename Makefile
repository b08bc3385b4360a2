# Needs make and a python3 of version 3.11 or newer; `make PYTHON=/path/to/python3` takes another one.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
SIDE_BY_SIDE = --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: help install java chromium classes demo test lint types lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with the locked packages and zipspark itself

demo: install java ## select from the documentation of Python's standard library, into out/demo
	@$(BIN)/zipspark demo

# A process can have one Spark only: what runs on Spark is run on classic Spark first, then on Spark Connect.
test: install java chromium classes ## run all tests
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)
	@ZIPSPARK_TEST_REMOTE=1 $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/spark

lint: install ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install ## check types
	@$(BIN)/mypy

# Versions already in the lock are kept where pyproject.toml allows them; take a line out of it to renew that package.
# One version of a package for every Python (fewest), so that what was tested is what is installed.
lock: ## rewrite requirements.lock from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo 'make lock needs uv on PATH. Run: pipx install uv' >&2; exit 1; }
	@UV_CUSTOM_COMPILE_COMMAND='make lock' uv pip compile pyproject.toml --extra dev --extra spark --generate-hashes --quiet \
		--universal --python-version 3.11 --fork-strategy fewest --output-file requirements.lock

clean: ## remove outputs and caches; .venv stays
	@rm -rf out dist spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

java:
	@scripts/ensure-java

# Without one the tests of the report in a browser are skipped, but on a CI server, where they fail.
chromium:
	-@scripts/ensure-chromium

# A hundred tests start a Java of their own. It is quicker with the classes kept, and no test needs them.
classes: install java
	-@$(BIN)/python -c 'from zipspark.spark.java import *; kept_classes(check_java()).exists() or keep_classes()'

# Both ways end with the same packages. The environment is kept where its python still runs: pyspark is a large download.
# uv's environments have no pip, so ensurepip is asked each time; it does nothing where pip is already there.
$(INSTALLED): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'zipspark needs Python 3.11 or newer as $(PYTHON). Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; \
		exit 1; }
	@set -e; if command -v uv >/dev/null; then \
		test -x $(BIN)/python || \
			uv venv --clear --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" $(VENV); \
		uv pip install --python $(BIN)/python --require-hashes --requirement requirements.lock; \
		uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
		"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$(PYTHON) cannot make environments. Run as root (Debian, Ubuntu): apt-get install" \
				"$$("$(PYTHON)" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; \
			exit 1; }; \
		test -x $(BIN)/python || "$(PYTHON)" -m venv --clear --without-pip $(VENV); \
		$(BIN)/python -m ensurepip --default-pip >/dev/null; \
		echo 'installing the locked packages into $(VENV): a minute or two'; \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock; \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	fi
	@ln -sf ../../scripts/spark-submit $(BIN)/spark-submit
	@touch $@
