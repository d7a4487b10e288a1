# Two commands for a newcomer, each alone on a fresh machine: `make bench` and `make test`.
# PYTHON is the interpreter that makes the environment (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: bench test lint clean

bench: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/pytest benchmarks/ --benchmark-autosave $(ARGS)

test: $(VENV)/.installed lint
	HF_HUB_OFFLINE=1 $(BIN)/pytest tests --durations=20 $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck .github/scripts/gate.sh

$(VENV)/.installed: pyproject.toml tools/install-cpu.sh
	./tools/install-cpu.sh $(PYTHON) $(VENV)
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
