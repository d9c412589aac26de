# `make help` lists the targets. Python >= 3.11 and make are all that must be there before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := app ragserver tests alembic bench

.DEFAULT_GOAL := help
.PHONY: help install run test lint format lock migration openapi bench eval drill

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

install: $(VENV)/.installed ## make .venv with everything in it

# uv where it is, else venv and pip; a Python without ensurepip lends its own pip.
$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@if command -v uv >/dev/null; then \
	    uv venv -q --allow-existing --python $(PYTHON) $(VENV) && \
	    uv pip sync -q --python $(BIN)/python --require-hashes requirements-dev.lock && \
	    uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	    ($(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --without-pip $(VENV)) && \
	    $(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock && \
	    $(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

run: install ## start both servers for development: the service and the reference RAG server
	@exec $(BIN)/ragchat dev

test: install ## every test, on SQLite and on a real PostgreSQL
	@$(BIN)/pytest --cov --cov-report=term --cov-fail-under=95

lint: install ## formatting, rules, types, and who may import whom
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install ## put the code into shape
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

migration: install ## a new migration from what changed in the models: make migration m="what changes"
	@test -n "$(m)" || (echo 'say what changes: make migration m="add turns"'; exit 1)
	@rm -f var/migration.db && mkdir -p var
	@DATABASE_URL=sqlite:///var/migration.db $(BIN)/alembic upgrade head
	@DATABASE_URL=sqlite:///var/migration.db PATH=$(BIN):$$PATH $(BIN)/alembic revision --autogenerate -m "$(m)" \
	    --rev-id $$(printf '%04d' $$(($$(ls alembic/versions/*.py | wc -l) + 1)))

openapi: install ## write docs/openapi.json anew
	@$(BIN)/ragchat openapi > docs/openapi.json

COMPILE = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: ## write the lock files anew (needs uv)
	@$(COMPILE) pyproject.toml -o requirements.lock
	@$(COMPILE) --group build -o requirements-build.lock
	@$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock

bench: install ## 500 chats at once on a slow RAG server, and growth; then the lab's ratios where ../shared/bench is
	@$(BIN)/python bench/burst.py
	@$(BIN)/python bench/streams.py
	@$(PYTHON) bench/lab.py --subject floor --subject seed --subject ragchat --rounds 3 --speed 0.3 \
	    --scenarios S1,S2,S4,S5,S6,S8,S3

eval: install ## how well the reference RAG server finds and refuses, and its costs; writes docs/reference-rag.md
	@$(BIN)/python bench/rag/documents.py
	@$(BIN)/python bench/rag/report.py

drill: install ## play every fault against three replicas, for about half an hour; writes docs/reliability.md
	@$(BIN)/python -m tests.drill --write docs/reliability.md
