# make setup   create .venv and install
# make test    lint, types, tests
# make demo    the whole chain on a generated phantom, in minutes, without a GPU

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
WORKERS ?= 3

.PHONY: setup test demo clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --ignore=tests/cluster
	$(BIN)/pytest tests/cluster

demo: setup
	rm -rf $(DEMO)
	$(BIN)/emsearch volumes phantom $(DEMO)/data --shape 20,192,192 --seed 1
	$(BIN)/emsearch launch experiments/phantom.toml --folder $(DEMO)/study

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
