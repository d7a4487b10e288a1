"""Measure the plugin's cost for a pytest run that uses no LLM: its import, and heavy modules.

    python tools/import_cost.py

Starts fresh interpreters in turn: one imports only pytest and pytest-benchmark, one also the plugin.
Prints the difference of their medians.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

BASE = "import time, pytest, pytest_benchmark.plugin\n"
PLUGIN = "import pytest_llmperf.plugin, pytest_llmperf.session.options\n"
CODE = BASE + "start = time.perf_counter()\n{plugin}print(time.perf_counter() - start)"
HEAVY = ("torch", "transformers", "vllm", "numpy", "scipy", "tabulate", "execnet")
PAIRS = 21


def seconds(plugin: str) -> float:
    command = [sys.executable, "-c", CODE.format(plugin=plugin)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    code = BASE + PLUGIN + f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    without, with_plugin = [], []
    for _ in range(PAIRS):
        without.append(seconds(""))
        with_plugin.append(seconds(PLUGIN))
    added = statistics.median(with_plugin) - statistics.median(without)
    print(f"import of the plugin: {added * 1000:.1f} ms (median of {PAIRS} fresh interpreters)")
    print(f"heavy modules loaded by it: {loaded.stdout.strip()}")


if __name__ == "__main__":
    main()
