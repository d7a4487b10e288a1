"""Match the tests of two sides, and their entries: an entry is one metric of one test."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..metrics.definitions import keys_per
from ..store.stored import Observation, StoredRun, TestRecord

PER_ENGINE = keys_per("process")
"""Metrics that every test of an engine repeats: the first is an entry, the others are copies of it."""
_LARGEST = 700.0
"""A larger logarithm is that of a number which cannot be written."""
_SETTINGS = ("label", "traits")
_STEPS = (
    ("traits",),
    ("label",),
    ("quantization",),
    _SETTINGS,
    ("quantization", *_SETTINGS),
    ("engine", *_SETTINGS),
    ("model", *_SETTINGS),
    ("model", "engine", "quantization", *_SETTINGS),
)
"""Parts of the cell that tests may differ in, those before the others that leave less open."""
Key = tuple[str, str]
"""An entry: (candidate's test id, metric)."""


@dataclass(frozen=True)
class MatchedTest:
    """A test with its id on both sides."""

    baseline_id: str
    candidate_id: str


class Repeats:
    """The metrics of engines that an earlier test already had."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def is_copy(self, metric: str, cell: str) -> bool:
        """Return whether an earlier test of the cell had the metric; remember this one."""
        if metric not in PER_ENGINE:
            return False
        known = (metric, cell) in self._seen
        self._seen.add((metric, cell))
        return known


def match(
    baseline: Mapping[str, TestRecord], candidate: Mapping[str, TestRecord]
) -> list[MatchedTest]:
    """Pair up the tests of two sides: by id, and where only the cell differs, without it.

    A comparison of two quantizations or two engines has different cells on its sides, so different ids.
    Tests that are left over on both sides pair up if their ids are equal and unique without the traits,
    the label or the mode; else without the engine, the model, or the whole cell.
    """
    matched = [MatchedTest(nodeid, nodeid) for nodeid in candidate if nodeid in baseline]
    for but in _STEPS:
        before = {m.baseline_id for m in matched}
        after = {m.candidate_id for m in matched}
        left = _unique((t for t in baseline.values() if t.nodeid not in before), but)
        right = _unique((t for t in candidate.values() if t.nodeid not in after), but)
        matched += [MatchedTest(left[key], right[key]) for key in right if key in left]
    return matched


def _unique(tests: Iterable[TestRecord], but: Sequence[str]) -> dict[str, str]:
    """Return the ids of tests by their ids without parts of the cell; only unique ones."""
    by_rest: dict[str, list[str]] = {}
    for test in tests:
        parts = ("*" if part in but else text for part, text in _parts(test).items())
        rest = test.nodeid.replace(test.cell, "-".join(parts))
        by_rest.setdefault(rest, []).append(test.nodeid)
    return {rest: ids[0] for rest, ids in by_rest.items() if len(ids) == 1}


def _parts(test: TestRecord) -> dict[str, str]:
    """Return the parts of a test's cell by name."""
    return {
        "model": str(test.subject.get("model")),
        "engine": str(test.subject.get("engine")),
        "label": test.name.label if test.name else "",
        "quantization": str(test.subject.get("quantization")),
        "traits": "-".join(test.name.traits) if test.name else "",
    }


def all_tests(runs: Iterable[StoredRun]) -> dict[str, TestRecord]:
    """Return the last record of every test in the runs, by id."""
    return {nodeid: test for run in runs for nodeid, test in run.tests.items()}


def badness(observation: Observation) -> float | None:
    """Return the observation as a logarithm, turned so that more is worse; None if not positive."""
    if observation.value <= 0:
        return None
    value = math.log(observation.value)
    return value if observation.better == "lower" else -value


def worse_by(better: str, before: float, after: float) -> float | None:
    """Return candidate over baseline - 1, turned so that plus is worse; None if there is no ratio."""
    if before <= 0 or after <= 0:
        return None
    change = math.log(after) - math.log(before)
    return share(change if better == "lower" else -change)


def share(log_ratio: float) -> float:
    """Return a ratio - 1 from its logarithm; a finite number, whatever a damaged file holds."""
    return math.expm1(min(log_ratio, _LARGEST))


def median(observations: Sequence[Observation]) -> float:
    """Return the median in the metric's unit."""
    return min(statistics.median(o.value for o in observations), sys.float_info.max)
