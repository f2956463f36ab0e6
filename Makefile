# Sluice in two commands: `make run` and `make test`. Each installs what it needs into .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install run test lint bench soak clean

install: .venv/.installed

.venv/.installed: setup.cfg install.py demo/metro/build.py
	$(PYTHON) install.py local
	@touch $@

.venv/.installed-test: .venv/.installed
	$(PYTHON) install.py local,sdk,test
	@touch $@

run: install
	@$(BIN)/sluice serve

test: .venv/.installed-test
	$(BIN)/pytest

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed-test
	$(BIN)/python -m benchmarks

# A random fault each second, ten minutes; `make soak SOAK="--seed 7 --seconds 60"` plays a certain one.
soak: .venv/.installed-test
	$(BIN)/python -m tests.reliability.soak $(SOAK)

clean:
	rm -rf .venv build *.egg-info
