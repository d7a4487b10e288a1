"""Measure what two loaded engines do to each other, and what alternating rounds gain.

    python tools/turns_benchmark.py idle [--times 5] [-- pytest arguments]
    python tools/turns_benchmark.py sides [--times 4] [-- pytest arguments]

``idle`` measures an engine alone, beside a second one that is loaded and rests, and alone again, in one
process: the ratio of the second median to the mean of the others should be 1. ``sides`` compares a thing
with itself by ``pytest-llmperf ab``, two pairs with ``--in-turns``, then two without, and so on. It
prints how much the ratios of equal sides vary either way, and whether the turns change the medians.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate
from turns_suite import RESTED

from pytest_llmperf.store.stored import read_run

SUITE = Path(__file__).resolve().parent / "turns_suite.py"
METRICS = ("ttft", "tpot", "e2e")
Medians = Mapping[tuple[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["idle", "sides"])
    parser.add_argument("--times", type=int, default=5)
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    run = idle if options.command == "idle" else sides
    run(options.times, sys.argv[split + 1 :])


def idle(times: int, pytest_args: Sequence[str]) -> None:
    """Print the ratios of medians beside a resting engine to those without one."""
    ratios: dict[str, list[float]] = {metric: [] for metric in METRICS}
    alone: dict[str, list[float]] = {metric: [] for metric in METRICS}
    rested: list[float] = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run.json"
            printed = run_pytest("test_rounds", [*pytest_args, f"--benchmark-json={out}"])
            found = medians(out)
        for metric in METRICS:
            before, beside, after = (
                value(found, neighbor, metric) for neighbor in ("before", "rests", "after")
            )
            ratios[metric].append(beside / ((before + after) / 2))
            alone[metric].append(after / before)
        rested += [float(line.removeprefix(RESTED)) for line in printed if line.startswith(RESTED)]
    print(f"{RESTED}{', '.join(f'{cores:.4f}' for cores in rested)}")
    print_ratios({"beside / alone": ratios, "alone after / before": alone})


def sides(times: int, pytest_args: Sequence[str]) -> None:
    """Print the ratios of equal sides, with and without alternating rounds."""
    ways = ("--in-turns", "--no-in-turns")
    ratios = {way: {metric: list[float]() for metric in METRICS} for way in ways}
    levels = {metric: list[float]() for metric in METRICS}
    for _ in range(times):
        medians_of = {way: pairs_of(way, pytest_args) for way in ways}
        for way, pairs in medians_of.items():
            for base, head in pairs:
                for (test, metric), median in base.items():
                    ratios[way][metric].append(head[test, metric] / median)
        for test, metric in medians_of[ways[0]][0][0]:
            of_way = [
                statistics.fmean(side[test, metric] for pair in medians_of[way] for side in pair)
                for way in ways
            ]
            levels[metric].append(of_way[0] / of_way[1])
    print_ratios({**ratios, "in turns / one by one": levels})


def pairs_of(way: str, pytest_args: Sequence[str]) -> list[tuple[Medians, Medians]]:
    """Compare a thing with itself; return the medians of both sides of two pairs."""
    with tempfile.TemporaryDirectory() as folder:
        # Two warm-up rounds are the default: nothing differs but the argument.
        command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", way, "--pairs=2"]
        command += ["--more-pairs=0", "--head-args=--llm-warmup=2", f"--out={folder}/out"]
        command += ["--", f"{SUITE}::test_sides", *pytest_args]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        runs = [
            [medians(Path(folder) / "out" / f"pair-{pair:02}-{side}.json") for pair in (1, 2)]
            for side in ("base", "head")
        ]
        return list(zip(*runs, strict=True))


def run_pytest(test: str, arguments: Sequence[str]) -> list[str]:
    """Run a test of the suite; return the lines that it prints."""
    command = [sys.executable, "-m", "pytest", "-q", "-rP", f"{SUITE}::{test}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def medians(file: Path) -> Medians:
    """Return the medians of a run by test and metric."""
    return {
        (nodeid, metric): test.metrics[metric].value
        for nodeid, test in read_run(file).tests.items()
        for metric in METRICS
    }


def value(found: Medians, neighbor: str, metric: str) -> float:
    (median,) = (v for (test, m), v in found.items() if neighbor in test and m == metric)
    return median


def print_ratios(ratios: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    rows = []
    for name, of_metrics in ratios.items():
        for metric, values in of_metrics.items():
            logs = [math.log(value) for value in values]
            rows.append(
                [
                    name,
                    metric,
                    len(values),
                    f"{statistics.median(values):.4f}",
                    f"{min(values):.3f} to {max(values):.3f}",
                    f"{statistics.stdev(logs):.2%}" if len(logs) > 1 else "",
                    f"{math.sqrt(statistics.fmean(log * log for log in logs)):.2%}",
                ]
            )
    headers = ["ratio", "metric", "n", "median", "range", "standard deviation", "root mean square"]
    print(tabulate(rows, headers, disable_numparse=True))


if __name__ == "__main__":
    main()
