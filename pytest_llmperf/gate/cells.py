"""From tests of stored runs to the cells that are judged: one metric of one test on both sides."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .stored import Observation, StoredRun, TestRecord

Key = tuple[str, str]
"""(candidate's test id, metric)."""


@dataclass(frozen=True)
class MatchedTest:
    """One test as both sides know it."""

    baseline_id: str
    candidate_id: str


def match(
    baseline: Mapping[str, TestRecord], candidate: Mapping[str, TestRecord]
) -> list[MatchedTest]:
    """Pair up the tests of two sides: by id, and where only the cell differs, without it.

    A comparison of two quantizations or two engines has other cells on its sides, so other ids. Tests
    that are left over on both sides pair up when, without the cell, their ids are alike and unique.
    """
    same = [MatchedTest(nodeid, nodeid) for nodeid in candidate if nodeid in baseline]
    left = _unique_without_cell(t for t in baseline.values() if t.nodeid not in candidate)
    right = _unique_without_cell(t for t in candidate.values() if t.nodeid not in baseline)
    other = [MatchedTest(left[key], right[key]) for key in right if key in left]
    return same + other


def _unique_without_cell(tests: Iterable[TestRecord]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for test in tests:
        found.setdefault(test.nodeid.replace(test.cell, "*"), []).append(test.nodeid)
    return {key: ids[0] for key, ids in found.items() if len(ids) == 1}


def all_tests(runs: Sequence[StoredRun]) -> dict[str, TestRecord]:
    """Every test of some runs, the newest record of each."""
    return {nodeid: test for run in runs for nodeid, test in run.tests.items()}


def badness(observation: Observation) -> float | None:
    """The observation as a logarithm, turned so that more is worse; None where there is none."""
    if observation.value <= 0:
        return None
    value = math.log(observation.value)
    return value if observation.better == "lower" else -value


def worse_by(better: str, before: float, after: float) -> float | None:
    """Candidate over baseline - 1, turned so that plus is worse; None where there is no ratio."""
    if before <= 0 or after <= 0:
        return None
    return (after / before if better == "lower" else before / after) - 1


def median(observations: Sequence[Observation]) -> float:
    return statistics.median(o.value for o in observations)
