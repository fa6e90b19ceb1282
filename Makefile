# Every target works alone on a machine with Python 3.11+, make and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup up test check bench bench-nn docs clean router

setup: $(VENV)/.dev ## everything a developer needs

$(VENV)/.user: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check '.[gateway,local]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.user

up: $(VENV)/.user ## install, fetch the embedded experts' weights, start the gateway
	$(BIN)/turnout up

check: setup ## style, types, layers, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_house.py

test: export OMP_NUM_THREADS ?= 1
test: setup ## the tests, one process a core; one test routes real requests to a real model
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

bench: setup ## speed: decisions, log, gateway; quality: `turnout bench`
	$(BIN)/python benchmarks/bench_import.py
	$(BIN)/python benchmarks/bench_log.py
	$(BIN)/python benchmarks/bench_decision.py
	$(BIN)/python benchmarks/bench_gateway.py
	$(BIN)/python benchmarks/bench_peers.py
	$(BIN)/python benchmarks/bench_cards.py
	$(BIN)/python benchmarks/bench_scale.py
	test ! -d ../shared/data || for name in robustness newcomer conversations; do \
	  TURNOUT_DATA=../shared/data $(BIN)/python benchmarks/bench_$$name.py || exit 1; done
	test ! -d ../shared/data || $(BIN)/turnout bench --data ../shared/data

bench-nn: setup ## routing inside a network: layer against dense, peers, curves; then every preset's proof
	$(BIN)/python benchmarks/bench_nn.py
	$(BIN)/turnout nn bench

docs: setup ## the pages and the stub that are generated from the registry
	$(BIN)/python scripts/stub_nn.py
	$(BIN)/turnout systems list --markdown > docs/systems.md
	$(BIN)/turnout log formats --markdown > docs/importers.md
	$(BIN)/turnout nn parts --markdown > docs/nn_parts.md

router: setup ## fit the router that ships again, from its committed log
	PATH="$(CURDIR)/$(BIN):$$PATH" sh recipes/embedded/make-router.sh fit

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
