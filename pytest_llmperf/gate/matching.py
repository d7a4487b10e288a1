"""From tests of stored runs to the cells that are judged: one metric of one test on both sides."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..metrics.definitions import keys_per
from ..store.stored import Observation, StoredRun, TestRecord

PER_ENGINE = keys_per("process")
"""Metrics that every test of an engine repeats: one of them is a cell, the others its copies."""
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
    that are left over on both sides pair up when their ids are alike and unique without the mode, else
    without the engine, the model, or the whole cell.
    """
    found = [MatchedTest(nodeid, nodeid) for nodeid in candidate if nodeid in baseline]
    for but in (("quantization",), ("engine",), ("model",), ("quantization", "engine", "model")):
        before = {m.baseline_id for m in found}
        after = {m.candidate_id for m in found}
        left = _unique((t for t in baseline.values() if t.nodeid not in before), but)
        right = _unique((t for t in candidate.values() if t.nodeid not in after), but)
        found += [MatchedTest(left[key], right[key]) for key in right if key in left]
    return found


def _unique(tests: Iterable[TestRecord], but: Sequence[str]) -> dict[str, str]:
    """Ids of tests by what remains of them without parts of their cell."""
    found: dict[str, list[str]] = {}
    for test in tests:
        parts = (
            "*" if name in but else str(test.subject.get(name))
            for name in ("model", "engine", "quantization")
        )
        key = test.nodeid.replace(test.cell, "-".join(parts))
        found.setdefault(key, []).append(test.nodeid)
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
