"""Measure how often the interval of a median holds the truth, including the looks that end rounds.

    python tools/precision_benchmark.py simulate [--trials 1000]
    python tools/precision_benchmark.py evaluate FILE... [--trials 1000]

``simulate`` makes rounds whose median is known: independent ones of several distributions, and rounds
that drift. ``evaluate`` takes recordings of tools/gate_benchmark.py with many rounds per process, and
starts a measurement at a random round of a process. The truth is then the median of the whole process,
of which the measurement saw a part.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tabulate import tabulate

from pytest_llmperf.metrics.precision import half_interval, is_known, next_look

PRECISION = 0.01
Series = Iterator[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("simulate", "evaluate"):
        command = commands.add_parser(name)
        command.add_argument("--trials", type=int, default=1000)
        if name == "evaluate":
            command.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "simulate":
        simulate(options.trials)
        print()
        costs()
    else:
        evaluate(options.files, options.trials)


@dataclass
class Tally:
    """What became of many measurements."""

    trials: int = 0
    intervals: int = 0
    covered: int = 0
    within: int = 0
    known: int = 0
    rounds: list[int] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)

    def add(self, values: Sequence[float], truth: float) -> None:
        """Add a measurement and the median that it should have found."""
        self.trials += 1
        self.rounds.append(len(values))
        half = half_interval(values)
        if half is None:
            return
        error = abs(truth / statistics.median(values) - 1)
        self.intervals += 1
        self.halves.append(half)
        self.covered += error <= half
        if half <= PRECISION:
            self.known += 1
            self.within += error <= PRECISION

    def row(self) -> list[str]:
        return [
            share(self.covered, self.intervals),
            share(self.within, self.known),
            share(self.known, self.trials),
            share(self.trials - self.intervals, self.trials),
            f"{statistics.median(self.rounds):.0f}",
            f"{statistics.median(self.halves):.1%}".replace("%", " %") if self.halves else "-",
        ]


HEADERS = ("coverage", "within 1 %", "called known", "no interval", "rounds", "±")


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def measured(rounds: Sequence[float]) -> Sequence[float]:
    """Return the rounds that a measurement sees whose time allows all of these."""
    n = min(next_look(0), len(rounds))
    while n < len(rounds) and not is_known(rounds[:n], PRECISION):
        n = min(next_look(n), len(rounds))
    return rounds[:n]


def simulate(trials: int) -> None:
    """Print the coverage for rounds with a known median."""
    for allowed in (30, 200, 1000):
        rows = []
        for name, series in SERIES.items():
            for spread in (0.005, 0.01, 0.02, 0.06):
                source, tally = random.Random(f"{name} {spread}"), Tally()
                for _ in range(trials if allowed < 1000 else trials // 4):
                    logs = islice(series(source), allowed)
                    tally.add(measured([math.exp(spread * x) for x in logs]), 1.0)
                rows.append([name, f"{spread:.1%}".replace("%", " %"), *tally.row()])
        print(f"{allowed} rounds at most\n")
        print(tabulate(rows, headers=["rounds are", "spread", *HEADERS], tablefmt="github"), "\n")


def normal(source: random.Random) -> Series:
    while True:
        yield source.gauss(0, 1)


def heavy(source: random.Random) -> Series:
    """Student's t with two degrees of freedom: without a variance."""
    while True:
        yield source.gauss(0, 1) / math.sqrt(source.gammavariate(1, 1))


def skewed(source: random.Random) -> Series:
    """Never faster than a limit, and often slower: a shifted exponential."""
    while True:
        yield source.expovariate(1) - math.log(2)


def two_levels(source: random.Random) -> Series:
    """Two modes, of which the faster has 60 % of the rounds."""
    # The median lies where the faster mode has had five sixths of its rounds.
    median = -1 + 0.3 * statistics.NormalDist().inv_cdf(5 / 6)
    while True:
        yield (-1 if source.random() < 0.6 else 1) + 0.3 * source.gauss(0, 1) - median


def drift(source: random.Random, length: float, own: float = 0.0) -> Series:
    """A level with an exponential memory of so many rounds; ``own``: share of independent variance."""
    keep = math.exp(-1 / length)
    level = source.gauss(0, 1)
    while True:
        yield math.sqrt(1 - own) * level + math.sqrt(own) * source.gauss(0, 1)
        level = keep * level + math.sqrt(1 - keep * keep) * source.gauss(0, 1)


def walk(source: random.Random, step: float) -> Series:
    """A random walk between two walls, which all levels between are equally likely for."""
    wall = math.sqrt(3)
    level = source.uniform(-wall, wall)
    while True:
        yield level
        level += step * source.gauss(0, 1)
        while abs(level) > wall:
            level = math.copysign(2 * wall, level) - level


SERIES: dict[str, Callable[[random.Random], Series]] = {
    "independent, log-normal": normal,
    "independent, heavy tails": heavy,
    "independent, skewed": skewed,
    "independent, two levels": two_levels,
    **{
        f"drift, memory of {length:g} rounds": functools.partial(drift, length=length)
        for length in (1, 3, 10, 50)
    },
    "drift of 10 rounds, half of the variance": functools.partial(drift, length=10, own=0.5),
    "walk between walls, step 1/2": functools.partial(walk, step=0.5),
    "walk between walls, step 1/10": functools.partial(walk, step=0.1),
}


def costs() -> None:
    """Print what a look costs."""
    rows = []
    for n in (10, 100, 1000):
        values = list(islice(normal(random.Random(n)), n))
        start = time.perf_counter()
        for _ in range(20):
            half_interval(values)
        rows.append([n, f"{(time.perf_counter() - start) / 20 * 1e3:.2f} ms"])
    print(tabulate(rows, headers=["rounds", "one look"], tablefmt="github"))


def evaluate(files: Sequence[Path], trials: int) -> None:
    """Print the coverage for recorded rounds."""
    for file in files:
        processes = json.loads(file.read_text("utf-8"))["processes"]
        rows = []
        for allowed in (12, 50, 200):
            for key in ("ttft", "tpot", "e2e"):
                series = [
                    tests[name][key]
                    for tests in (process["tests"] for process in processes)
                    for name in tests
                    if len(tests[name].get(key, ())) >= 2 * allowed
                ]
                if series:
                    rows.append([allowed, key, len(series), *recorded(series, allowed, trials)])
        print(f"{file.name}\n")
        print(tabulate(rows, headers=["at most", "metric", "series", *HEADERS], tablefmt="github"))
        print()


def recorded(series: Sequence[Sequence[float]], allowed: int, trials: int) -> list[str]:
    source, tally = random.Random(allowed), Tally()
    for _ in range(trials):
        rounds = source.choice(series)
        start = source.randrange(len(rounds) - allowed + 1)
        tally.add(measured(rounds[start : start + allowed]), statistics.median(rounds))
    return tally.row()


if __name__ == "__main__":
    main()
