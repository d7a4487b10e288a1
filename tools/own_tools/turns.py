"""Run two ways of measuring in turns, and compare their results."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llmperf.backends.base import Backend
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.trace import RoundTrace
from pytest_llmperf.core.workload import Workload

INPUT_LEN = 32
Results = dict[str, tuple[list[float], list[float]]]
"""Seconds of ours and of theirs, pair by pair, by the name of the measurement."""
TEST = """
import pytest

@pytest.mark.parametrize("batch_size", {sizes})
def test_e2e(llm, llm_benchmark, batch_size):
    llm_benchmark(llm, input_len={input_len}, output_len={output_len}, batch_size=batch_size)
"""


def workload_of(options: argparse.Namespace, batch: int) -> Workload:
    return Workload(output_len=options.output_len, input_len=INPUT_LEN, batch_size=batch)


def our_round(backend: Backend, vocabulary: int, workload: Workload, i: int) -> float:
    """Return the seconds of one round on a loaded engine, as the plugin measures it."""
    return RoundTrace(
        tuple(backend.generate(workload.requests(i, backend.encode, vocabulary)))
    ).wall_time


def in_turns(
    ours: Callable[[int], float], theirs: Callable[[int], float], pairs: int, warmup: int = 3
) -> tuple[list[float], list[float]]:
    """Return the seconds of each call, without the pairs of warm-up."""
    results: dict[Any, list[float]] = {ours: [], theirs: []}
    for i in range(-warmup, pairs):
        for call in (ours, theirs) if i % 2 else (theirs, ours):
            results[call].append(call(i))
        print(f"pair {i + 1}: {results[ours][-1]:.4f} s, {results[theirs][-1]:.4f} s", flush=True)
    return results[ours][warmup:], results[theirs][warmup:]


def run(command: list[str], log: Path, folder: str | None = None) -> None:
    with log.open("w") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, check=False
        )
    if code := done.returncode:
        print(log.read_text()[-3000:])
        sys.exit(f"{' '.join(command[:4])} ... ended with {code}")


def our_run(
    spec: EngineSpec, folder: Path, output_len: int, sizes: list[int], rounds: int
) -> dict[int, Any]:
    """Return the metrics of one pytest run by batch size, as it stores them."""
    test = folder / "test_e2e.py"
    test.write_text(TEST.format(input_len=INPUT_LEN, output_len=output_len, sizes=sizes))
    out = folder / "ours.json"
    command = [sys.executable, "-m", "pytest", str(test), "-q", f"--rootdir={folder}"]
    command += [f"--llm-backend={spec.backend}", f"--llm-model=m={spec.model}"]
    command += [f"--llm-load-format={spec.load_format}", f"--llm-rounds={rounds}"]
    run([*command, f"--benchmark-json={out}"], folder / "ours.log")
    found = {}
    for entry in json.loads(out.read_text())["benchmarks"]:
        if metrics := entry["extra_info"]["llmperf"].get("metrics"):
            found[entry["params"]["batch_size"]] = metrics
    return found


def paired_ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Return ours over theirs and its 95 % interval: Student's t over the pairs' log-ratios."""
    from scipy import stats

    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
