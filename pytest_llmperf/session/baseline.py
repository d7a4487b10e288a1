"""The baselines of relative budgets: medians over the stored runs of the storage folder."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ..gate import clock
from ..gate.comparable import differences
from ..metrics.samples import needed_samples
from ..store.entries import BenchmarkStore
from ..store.find import stored_files
from ..store.reached import SHARES, ceiling_of
from ..store.schema import MetricPart, Record, statistic
from ..store.stored import StoredError, StoredFile, TestRecord, judged_test, read_file
from .budgets import OPTION

NEWEST = 20
"""The newest stored runs of a test, which are the ones that count."""


@dataclass(frozen=True)
class _StoredTest:
    """A test of a stored run, with the metrics that a baseline may use."""

    test: TestRecord
    metrics: Mapping[str, MetricPart]
    """Every metric that was measured and that the gate did not reject."""


class StoredBaseline:
    """The newest stored runs of the same test, the same work and the same hardware.

    The folder is read on first use and never again.
    """

    def __init__(self, store: BenchmarkStore) -> None:
        self._store = store

    def __call__(self, record: Record, metric: str, stat: str) -> float | None:
        """Return the median of a statistic over the runs, in the metric's unit; None without any.

        A run is left out if it has too few samples for the statistic, or if the gate rejected its
        metric.

        Args:
            record: the measurement to compare.
        """
        measured = judged_test(record, ())
        comparable = [
            (stored.test.environment, stored.metrics.get(metric))
            for stored in self._by_test.get(record["nodeid"], ())
            if not differences(stored.test, measured)
        ]
        values = [
            value
            for environment, stored in comparable[-NEWEST:]
            if stored and stored["n"] >= needed_samples(stat)
            for value in _under(record, environment, metric, statistic(stored, stat))
        ]
        return statistics.median(values) if values else None

    def require(self, budget: str) -> None:
        """Raise pytest.UsageError, which names the budget, when no run of ours is stored."""
        if self._by_test:
            return
        problems = [file for file in self._files if isinstance(file, StoredError)]
        raise pytest.UsageError(
            f"{OPTION}: {budget!r} needs a baseline: no stored run in "
            f"{os.path.relpath(self._store.folder)} (save one with --benchmark-autosave)"
            + (f"; left out: {problems[-1]}" if problems else "")
        )

    @cached_property
    def _by_test(self) -> Mapping[str, list[_StoredTest]]:
        """Return the stored tests by test id, those of the oldest run first."""
        # A run of a wrong clock would be among the newest for years.
        files = [
            file
            for file in self._files
            if isinstance(file, StoredFile) and not clock.problem(_start_of(file))
        ]
        by_test: dict[str, list[_StoredTest]] = {}
        for file in sorted(files, key=_start_of):
            for record in file.records:
                by_test.setdefault(record["nodeid"], []).append(_stored_test(record, file))
        return by_test

    @cached_property
    def _files(self) -> list[StoredFile | StoredError]:
        return [_read(path) for path in stored_files(self._store.folder)]


def _read(path: Path) -> StoredFile | StoredError:
    """Return a stored run, or the error if a file is not one of ours."""
    try:
        file = read_file(path)
        file.run()  # As the gate reads it: what is nested too deeply has no place in a baseline.
        return file
    except RecursionError:
        return StoredError(f"{path}: is nested too deeply")
    except StoredError as error:
        return error


def _start_of(file: StoredFile) -> str:
    return file.records[0]["run"]["started_at"]


def _under(
    record: Record, environment: Mapping[str, Any], metric: str, value: float
) -> list[float]:
    """Return a stored value as it is under a record's ceilings; nothing if those are unknown."""
    if metric not in SHARES:
        return [value]
    before, now = ceiling_of(environment, metric), ceiling_of(record["environment"], metric)
    return [value * before[0] / now[0]] if before and now else []


def _stored_test(record: Record, file: StoredFile) -> _StoredTest:
    kept = {
        key: metric
        for key, metric in record["metrics"].items()
        if (record["nodeid"], key) not in file.rejected
    }
    return _StoredTest(judged_test(record, ()), kept)
