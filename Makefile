# Two commands: `make` sets everything up and opens the window; `make test` sets up and passes the tests. Needs git, a shell, and uv or Python >= 3.11. Works with make 3.81 and bash 3.2 (macOS's own).
SHELL := /bin/bash
LAB := .venv/bin/lab

.DEFAULT_GOAL := run
.PHONY: run setup setup-dev test quick check claims stale lock clean

# Without a terminal to open a window in, the whole road with plain progress: about an hour; the same line goes on with it.
run: setup
	@if [ -t 0 ] && [ -t 1 ]; then $(LAB); else $(LAB) journey; fi

setup:
	@./setup.sh

setup-dev:
	@./setup.sh dev

# Two processes, of one BLAS thread each: the tests start many small trainings, which hardly gain from a second thread.
PYTEST := OPENBLAS_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

# All tests, linter and types. `make quick` leaves out what is marked slow.
test: setup-dev check
	$(PYTEST)
	.venv/bin/python -m tests.claims --list

quick: setup-dev check
	$(PYTEST) -m "not slow"

# What the recipes show over two seeds, measured again where the code has changed (hours), and the report card of it; `make stale` lists the figures.
claims: setup-dev
	.venv/bin/python -m tests.claims
	$(LAB) report --out docs

stale: setup-dev
	.venv/bin/python -m tests.claims --list

check: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

lock:
	uv lock

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
