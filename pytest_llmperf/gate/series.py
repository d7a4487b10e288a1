"""The series of an entry over many stored runs: values, level, noise, steps."""

from __future__ import annotations

import csv
import json
import math
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import OneLine
from ..store.stored import Observation, StoredRun
from .comparable import differences
from .matching import Key, all_tests

WINDOW = 50
MAX_P = 1e-4
MIN_STEP = 0.02
"""Limits for E-divisive change points: at p < 0.001 a sixth of flat series of 60 points show one."""

# Runs in the other environment: apache-otava pins numpy and scipy, so it is never installed with us.
_OTAVA = """
import json, sys
from otava.analysis import compute_change_points
job = json.load(sys.stdin)
steps = [
    [(int(c.index), float(c.stats.forward_rel_change())) for c in compute_change_points(
        values, window_len=job["window"], max_pvalue=job["max_p"], min_magnitude=job["min_step"])[0]]
    for values in job["series"]
]
json.dump(steps, sys.stdout)
"""


class ChangePointError(OneLine):
    """The other environment cannot compute change points; one line."""


@dataclass(frozen=True)
class Point:
    """A run of an entry, with its observation."""

    run: StoredRun
    observation: Observation


@dataclass(frozen=True)
class Series:
    """An entry's runs, oldest first."""

    key: Key
    points: tuple[Point, ...]
    since: str = ""
    """Start of the run that introduced the accepted level; empty: the first run."""

    @property
    def values(self) -> list[float]:
        return [point.observation.value for point in self.points]

    @property
    def unit(self) -> str:
        return self.points[0].observation.unit

    @property
    def _at_level(self) -> list[float]:
        values = [
            point.observation.value
            for point in self.points
            if point.run.started_at >= self.since and self.key not in point.run.rejected
        ]
        return values or self.values

    @property
    def level(self) -> float:
        """Return the median of the runs since the accepted change, regressed ones left out."""
        return statistics.median(self._at_level)

    @property
    def variation(self) -> float | None:
        """Return the standard deviation of the logarithms of those runs, a coefficient of variation."""
        values = [math.log(v) for v in self._at_level if v > 0]
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def change(self) -> float:
        """Return the newest value over the level, minus 1."""
        return self.values[-1] / self.level - 1 if self.level else 0.0


def collect(
    runs: Sequence[StoredRun], anchors: Mapping[Key, str], wanted: str = "", metric: str = ""
) -> list[Series]:
    """Return a series for every entry, without runs whose work or hardware differs from the newest.

    Args:
        runs: stored runs, in any order.
        anchors: start of each entry's level (see ``accepted``).
        wanted: part of a test id; other tests are left out.
        metric: one metric; empty for all.
    """
    ordered = sorted(runs, key=lambda run: run.started_at)
    newest = all_tests(ordered)
    points: dict[Key, list[Point]] = {}
    for run in ordered:
        for nodeid, test in run.tests.items():
            if wanted not in nodeid or differences(test, newest[nodeid]):
                continue
            for key, observation in test.metrics.items():
                if metric in ("", key):
                    points.setdefault((nodeid, key), []).append(Point(run, observation))
    return [Series(key, tuple(runs), anchors.get(key, "")) for key, runs in points.items()]


def change_points(series: Sequence[Series], python: str) -> list[list[tuple[int, float]]]:
    """Return the steps of each series: index of the first run at the new level, relative change.

    Args:
        python: interpreter of an environment that has apache-otava.

    Raises:
        ChangePointError: it cannot be run, or has no apache-otava.
    """
    job = {
        "window": WINDOW,
        "max_p": MAX_P,
        "min_step": MIN_STEP,
        "series": [entry.values for entry in series],
    }
    try:
        done = subprocess.run(
            [python, "-c", _OTAVA],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise ChangePointError(f"{python} cannot be run ({error.strerror})") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ChangePointError(f"{python} cannot find change points: {last}")
    return [[(int(i), float(change)) for i, change in steps] for steps in json.loads(done.stdout)]


def write_csv(series: Sequence[Series], path: Path) -> None:
    """Write one row per run and entry, for other tools."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "commit", "branch", "run", "test", "metric", "unit", "value"])
        for entry in series:
            nodeid, metric = entry.key
            for point in entry.points:
                run = point.run
                identity = [run.started_at, run.commit, run.branch, run.run_id]
                value = repr(point.observation.value)
                texts = [*identity, nodeid, metric, entry.unit]
                writer.writerow([*map(_no_formula, texts), value])


def _no_formula(text: str) -> str:
    """Return a text of others that a spreadsheet does not compute: a branch may be called ``=1+1``."""
    return f"'{text}" if len(text) > 1 and text[0] in "=+-@\t\r\n" else text
