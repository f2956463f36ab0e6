# Sluice in two commands: `make run` and `make test`. Each installs what it needs into .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: lock sbom install run test lint format coverage instructions bench soak clean

install: .venv/.installed

.venv/.installed: setup.cfg install.py demo/metro/build.py
	$(PYTHON) install.py local
	@touch $@

.venv/.installed-test: .venv/.installed
	$(PYTHON) install.py local,sdk,test
	@touch $@

run: install
	@$(BIN)/sluice serve

# Several test processes, because most tests wait for real servers; a file's tests stay in one process, which shares its
# servers among them. `make test TESTS=0` runs everything in one process.
TESTS ?= 4
test: .venv/.installed-test
	$(BIN)/pytest -n $(TESTS) --dist loadfile --no-loadscope-reorder

# The tests' own modules, which tests import: typed as strictly as the product.
HELPERS := find tests -name '*.py' ! -name 'test_*.py' ! -name conftest.py

# `make format` writes what `make lint` checks.
SCRIPTS := "gateway/web/static/**/*.js" "!gateway/web/static/vendor/**"
format: .venv/.installed-test
	$(BIN)/ruff format .
	$(BIN)/oxfmt $(SCRIPTS)

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $$($(HELPERS))
	$(BIN)/oxlint --deny-warnings --ignore-pattern "gateway/web/static/vendor/**" gateway/web/static
	$(BIN)/oxfmt --check $(SCRIPTS)

# How much of the code the tests without servers reach. No bound: a figure to look at.
FAST := tests/prompts tests/providers/routing tests/providers/stream/test_sse.py tests/providers/wires \
	tests/gateway/access tests/gateway/answers/test_answers.py tests/gateway/formats tests/gateway/routes \
	tests/gateway/text2sql/guard/test_judge.py tests/gateway/text2sql/test_flow.py
coverage: .venv/.installed-test
	$(BIN)/coverage run -m pytest -qq --ignore tests/providers/wires/sdk $(FAST)
	$(BIN)/coverage report --format=total | sed 's/^/coverage of the fast tests, percent: /'

# Instructions of the stream path's units, beside the committed ones; fails where one has grown by more than 10 %.
instructions: .venv/.installed-test
	$(BIN)/python -m benchmarks.gateway.instructions

bench: .venv/.installed-test
	$(BIN)/python -m benchmarks

# A random fault each second, ten minutes; `make soak SOAK="--seed 7 --seconds 60"` plays a certain one.
soak: .venv/.installed-test
	$(BIN)/python -m tests.reliability.soak $(SOAK)

# The versions and hashes that the image installs; needs uv.
lock:
	uv pip compile setup.cfg --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-annotate \
	  --no-header -q -o deploy/requirements.lock
	sed -i '1i # What the image of the gateway installs, with hashes. Written by `make lock` from setup.cfg.' deploy/requirements.lock

# What is in the image, as CycloneDX; needs cyclonedx-bom.
sbom:
	cyclonedx-py requirements deploy/requirements.lock --output-reproducible -o sbom.json

clean:
	rm -rf .venv build *.egg-info
