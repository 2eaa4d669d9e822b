# Everything runs from a bare clone with python3 and make; the virtual environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup run demo test soak lint types contracts check bench clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP)

run: $(STAMP) ## the hub on the embedded store, at http://127.0.0.1:8080
	$(BIN)/hub dev

demo: $(STAMP) ## the whole job in one terminal
	$(BIN)/python -m tests.tutorial.demo

test: $(STAMP)
	$(BIN)/python -m pytest -q

soak: $(STAMP) ## long chaos runs
	$(BIN)/python -m pytest -q -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/basedpyright

contracts: $(STAMP)
	$(BIN)/lint-imports

check: lint types contracts test

bench: $(STAMP)
	$(BIN)/python -m bench.run

clean:
	rm -rf .venv .hub build *.egg-info
