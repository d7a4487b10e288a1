# Two commands for a newcomer, each alone on a fresh machine: `make bench` and `make test`.
# PYTHON is the interpreter that makes the environment (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Half of the time of a short run of pytest would go into compiling this package again.
unexport PYTHONDONTWRITEBYTECODE

# With a cache of their own: what tests measure on a busy machine is no ceiling for `make bench`.
PYTEST := HF_HUB_OFFLINE=1 PYTEST_LLMPERF_CACHE=$(abspath $(VENV))/cache $(BIN)/pytest --durations=20

.PHONY: bench test test-resident test-shared test-timing lint clean

bench: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/pytest benchmarks/ --benchmark-autosave $(ARGS)

# Every test is in one of three parts: what compares a clock with programmed times has the machine
# for itself, at the end. An engine's load keeps one core busy, so the other two run side by side; the
# shared part comes to its engines when the resident one has converted their models. A process of
# pytest-xdist that crashes ends its part: replaced, it would be waited for without end.
test: $(VENV)/.installed lint
	$(MAKE) --no-print-directory -j2 -Otarget test-resident test-shared
	$(MAKE) --no-print-directory test-timing

test-resident: $(VENV)/.installed
	$(PYTEST) tests/engines -m "resident and not timing" $(ARGS)

test-shared: $(VENV)/.installed
	$(PYTEST) tests/plugin tests/engines tests/unit -m "not resident and not timing" -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 $(ARGS)

test-timing: $(VENV)/.installed
	$(PYTEST) tests -m timing $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/shellcheck .github/scripts/gate.sh

$(VENV)/.installed: pyproject.toml tools/install-cpu.sh
	./tools/install-cpu.sh $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
