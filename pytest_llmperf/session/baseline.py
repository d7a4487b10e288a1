"""What relative budgets start from: medians over the stored runs of the storage folder."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ..gate.comparable import differences
from ..store.find import stored_files
from ..store.stored import StoredError, TestRecord, parse_run
from .budgets import OPTION, STATS, needed_samples

NEWEST = 20
"""Stored runs of a test that count."""


@dataclass(frozen=True)
class _Stored:
    """One test of one stored run."""

    test: TestRecord
    statistics: Mapping[str, Mapping[str, float]]
    """``n`` and the statistics by metric, of every metric that was measured and not rejected."""


_Run = tuple[str, Mapping[str, _Stored]]
"""When a run started, and its tests."""


class StoredBaseline:
    """The newest stored runs of the same test, the same work and the same hardware.

    The folder is read on first use and never again.
    """

    def __init__(self, storage: Callable[[], Path]) -> None:
        self._storage = storage

    def __call__(self, record: Mapping[str, Any], metric: str, stat: str) -> float | None:
        """The median of a statistic over the runs, in the metric's unit; None without any.

        A run whose own samples do not carry the statistic is left out, and so is one whose metric the
        gate rejected.

        Args:
            record: the measurement that is compared, in its stored form.
        """
        measured = _parse_record(record)
        same = [
            stored.statistics.get(metric)
            for stored in self._by_test.get(record["nodeid"], ())
            if not differences(stored.test, measured)
        ]
        values = [
            of_run[stat]
            for of_run in same[-NEWEST:]
            if of_run and of_run["n"] >= needed_samples(stat)
        ]
        return statistics.median(values) if values else None

    def require(self, budget: str) -> None:
        """Raise pytest.UsageError, which names the budget, when no run of ours is stored."""
        if self._by_test:
            return
        problems = [found for found in self._found if isinstance(found, StoredError)]
        raise pytest.UsageError(
            f"{OPTION}: {budget!r} needs a baseline: no stored run in "
            f"{os.path.relpath(self._storage())} (save one with --benchmark-autosave)"
            + (f"; left out: {problems[-1]}" if problems else "")
        )

    @cached_property
    def _by_test(self) -> Mapping[str, list[_Stored]]:
        """Oldest run first."""
        found: dict[str, list[_Stored]] = {}
        runs = [run for run in self._found if not isinstance(run, StoredError)]
        for _, tests in sorted(runs, key=lambda run: run[0]):
            for nodeid, stored in tests.items():
                found.setdefault(nodeid, []).append(stored)
        return found

    @cached_property
    def _found(self) -> list[_Run | StoredError]:
        return [_read(path) for path in stored_files(self._storage())]


def _read(path: Path) -> _Run | StoredError:
    """A stored run, or why a file is none of ours."""
    try:
        return _parse(json.loads(path.read_bytes()), path)
    except StoredError as error:
        return error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return StoredError(f"{path}: cannot be read ({error})")


def _parse(data: Any, path: Path) -> _Run:
    run = parse_run(data, path)
    # The gate reads medians of the chosen metrics; budgets may be on any statistic of any metric.
    records = [entry["extra_info"].get("llmperf") or {} for entry in data["benchmarks"]]
    statistics_of = {
        record["nodeid"]: {
            key: {name: metric[name] for name in ("n", *STATS)}
            for key, metric in record["metrics"].items()
            if (record["nodeid"], key) not in run.rejected
        }
        for record in records
        if "nodeid" in record
    }
    return run.started_at, {
        nodeid: _Stored(test, statistics_of[nodeid]) for nodeid, test in run.tests.items()
    }


def _parse_record(record: Mapping[str, Any]) -> TestRecord:
    """A measurement of this run as the stored ones are read."""
    entry = {"fullname": record["nodeid"], "extra_info": {"llmperf": record}}
    _, tests = _parse({"benchmarks": [entry]}, Path())
    return tests[record["nodeid"]].test
