"""Judges interleaved pairs of processes: the comparison of record."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..store.stored import QUALITY, Observation, StoredRun, TestRecord
from . import documents, exact, rule, timing
from .comparable import differences, noted_differences
from .disturbances import canary_shift, disturbances, pair_problem
from .limits import LimitSettings
from .matching import PER_ENGINE, Key, MatchedTest, all_tests, badness, match, median, worse_by
from .verdict import CellVerdict, Judgement, Verdict

FIRST_PAIRS = 3
MORE_PAIRS = 5
SUSPECT_P = 0.20
SUSPECT_EFFECT = 0.015


@dataclass(frozen=True)
class Pair:
    """Two processes that ran one after the other."""

    number: int
    baseline: StoredRun
    candidate: StoredRun


@dataclass(frozen=True)
class _Cell:
    """What both sides measured of one metric, pair by pair."""

    test: MatchedTest
    metric: str
    observations: tuple[tuple[int, Observation, Observation], ...]
    """With the number of their pair."""
    is_timing: bool

    @property
    def key(self) -> Key:
        return self.test.candidate_id, self.metric

    @property
    def baseline(self) -> list[Observation]:
        return [a for _, a, _ in self.observations]

    @property
    def candidate(self) -> list[Observation]:
        return [b for _, _, b in self.observations]

    def log_ratios(self, last: int) -> list[float]:
        """Of the pairs up to a number."""
        found = []
        for number, a, b in self.observations:
            before, after = badness(a), badness(b)
            if number <= last and before is not None and after is not None:
                found.append(after - before)
        return found


@dataclass(frozen=True)
class _Suite:
    """What all cells together say."""

    cells: int
    worse: set[Key]
    better: set[Key]


def tests_of(pairs: Sequence[Pair]) -> tuple[dict[str, TestRecord], dict[str, TestRecord]]:
    """Every test of each side, baseline and candidate."""
    return all_tests([p.baseline for p in pairs]), all_tests([p.candidate for p in pairs])


def suspects(pairs: Sequence[Pair], settings: LimitSettings) -> set[Key]:
    """Cells that look worse after the first pairs, by a lenient rule; their tests deserve more."""
    cells, _ = _collect(pairs, first=sys.maxsize)
    effects = _effects(cells, first=sys.maxsize)
    _, head = tests_of(pairs)
    found = set()
    for key, effect in effects.items():
        # Half of what would be a regression, where that is set below the usual.
        limits = settings.of(key[1], "pairs", head[key[0]])
        least = min(SUSPECT_EFFECT, limits.min_effect / 2)
        if effect.p_worse < SUSPECT_P and effect.estimate >= least:
            found.add(key)
    return found


def judge(
    pairs: Sequence[Pair],
    settings: LimitSettings,
    *,
    first: int = FIRST_PAIRS,
    in_two_stages: bool = True,
    failures: Iterable[str] = (),
    names: tuple[str, str] = ("base", "head"),
) -> Judgement:
    """Judge every cell that both sides measured.

    Args:
        first: pairs up to this number were of all tests; later ones of those with suspect cells.
        in_two_stages: then cells that were not suspect after the first pairs cannot regress by later
            ones (their p is 1), which is what keeps the error rate.
        failures: what could not be measured, for the report.
    """
    cells, incomparable = _collect(pairs, first)
    effects = _effects(cells, first)
    in_race = (
        suspects([p for p in pairs if p.number <= first], settings)
        if in_two_stages
        else set(effects)
    )
    suite = _Suite(
        len(effects),
        rule.significant({k: e.p_worse if k in in_race else 1.0 for k, e in effects.items()}),
        rule.significant({k: e.p_better for k, e in effects.items()}),
    )
    base, head = tests_of(pairs)
    verdicts = [
        _judge_timing(cell, effects.get(cell.key), suite, settings, head[cell.test.candidate_id])
        if cell.is_timing
        else _judge_other(cell)
        for cell in cells
    ]
    matched = match(base, head)
    new = sorted(set(head) - {m.candidate_id for m in matched})
    gone = sorted(set(base) - {m.baseline_id for m in matched})
    return Judgement(
        mode="pairs",
        baseline=names[0],
        candidate=names[1],
        cells=tuple(verdicts + incomparable),
        new=tuple(new),
        gone=tuple(gone),
        failures=tuple(failures),
        notes=tuple(_notes(pairs, matched, names)),
        settings={"pairs": len(pairs), "first_pairs": first},
    )


def _collect(pairs: Sequence[Pair], first: int) -> tuple[list[_Cell], list[CellVerdict]]:
    base, head = tests_of(pairs)
    cells: list[_Cell] = []
    incomparable: list[CellVerdict] = []
    seen: set[tuple[str, str]] = set()
    for test in match(base, head):
        both = [
            (p, p.baseline.tests[test.baseline_id], p.candidate.tests[test.candidate_id])
            for p in pairs
            if test.baseline_id in p.baseline.tests and test.candidate_id in p.candidate.tests
        ]
        lost = [
            key
            for key in base[test.baseline_id].metrics
            if key not in head[test.candidate_id].metrics
        ]
        incomparable += [_incomparable(test, metric, "head no longer has it") for metric in lost]
        metrics = [
            key
            for key in head[test.candidate_id].metrics
            if key in base[test.baseline_id].metrics
            and (key, base[test.baseline_id].cell) not in seen
        ]
        seen |= {(key, base[test.baseline_id].cell) for key in metrics if key in PER_ENGINE}
        reasons = [reason for _, a, b in both for reason in differences(a, b, same_engine=False)]
        kept = [(p, a, b) for p, a, b in both if not pair_problem(a, b)]
        if not reasons and len(kept) < 2:
            dropped = "; ".join(
                dict.fromkeys(filter(None, (pair_problem(a, b) for _, a, b in both)))
            )
            reasons = [
                f"{len(kept)} of {len(pairs)} pairs could be used"
                + (f" ({dropped})" if dropped else "")
            ]
        for metric in metrics:
            if reasons:
                reason = "; ".join(dict.fromkeys(reasons))
                incomparable.append(_incomparable(test, metric, reason))
                continue
            observations = tuple(
                (p.number, a.metrics[metric], b.metrics[metric])
                for p, a, b in kept
                if metric in a.metrics and metric in b.metrics
            )
            if not observations:
                reason = "no pair has it on both sides"
                incomparable.append(_incomparable(test, metric, reason))
                continue
            # By the pairs that all tests had: later ones run fewer tests in a process, whose memory
            # may differ for that alone.
            of_first = [a for number, a, _ in observations if number <= first]
            is_timing = _is_timing(metric, of_first or [a for _, a, _ in observations])
            cells.append(_Cell(test, metric, observations, is_timing))
    return cells, incomparable


def _incomparable(test: MatchedTest, metric: str, reason: str) -> CellVerdict:
    return CellVerdict(test.candidate_id, metric, Verdict.NOT_COMPARABLE, reason=reason)


def _is_timing(metric: str, baseline: Sequence[Observation]) -> bool:
    """Memory that varies in the baseline itself is judged like a time."""
    if baseline[0].kind == "exact":
        return exact.varies(metric, baseline)
    return baseline[0].kind != QUALITY


def _effects(cells: Sequence[_Cell], first: int) -> dict[Key, rule.Effect]:
    timing = {cell.key: cell for cell in cells if cell.is_timing}
    return rule.paired(
        {key: cell.log_ratios(sys.maxsize) for key, cell in timing.items()},
        {key: cell.log_ratios(first) for key, cell in timing.items()},
        {key: rule.Place(*key) for key in timing},
    )


def _judge_timing(
    cell: _Cell,
    effect: rule.Effect | None,
    suite: _Suite,
    settings: LimitSettings,
    record: TestRecord,
) -> CellVerdict:
    if effect is None:
        return CellVerdict(
            *cell.key, Verdict.NOT_COMPARABLE, reason="fewer than two pairs have a positive value"
        )
    return timing.verdict(
        timing.Judged(
            key=cell.key,
            effect=effect,
            baseline=median(cell.baseline),
            candidate=median(cell.candidate),
            unit=cell.baseline[0].unit,
            is_worse=cell.key in suite.worse,
            is_better=cell.key in suite.better,
            cells=suite.cells,
            limits=settings.of(cell.metric, "pairs", record),
            observation="pairs",
        )
    )


def _judge_other(cell: _Cell) -> CellVerdict:
    """Exact and quality metrics: a tolerance, or a paired bootstrap over documents."""
    before, after = median(cell.baseline), median(cell.candidate)
    low = high = None
    reason = ""
    effect = worse_by(cell.baseline[0].better, before, after)
    if cell.baseline[0].kind == QUALITY:
        found = documents.compare(cell.baseline[-1].samples, cell.candidate[-1].samples)
        if found is None:
            answer, reason = Verdict.NOT_COMPARABLE, "the documents are not the same"
        else:
            answer = documents.judge(found)
            effect, low, high = (math.expm1(v) for v in (found.estimate, found.low, found.high))
    else:
        answer = exact.judge(cell.metric, cell.baseline, cell.candidate)
    return CellVerdict(
        *cell.key,
        answer,
        unit=cell.baseline[0].unit,
        baseline=before,
        candidate=after,
        effect=effect,
        low=low,
        high=high,
        n=len(cell.observations),
        reason=reason,
    )


def _notes(
    pairs: Sequence[Pair], matched: Sequence[MatchedTest], names: tuple[str, str]
) -> list[str]:
    """Conditions of either side, and versions that differ between them."""
    found: dict[str, int] = {}
    for pair in pairs:
        for name, run in zip(names, (pair.baseline, pair.candidate), strict=True):
            for phrase in {p for test in run.tests.values() for p in disturbances(test)}:
                line = f"{name}: {phrase}"
                found[line] = found.get(line, 0) + 1
    lines = [f"{line} (in {n} of {len(pairs)} runs)" for line, n in found.items()]
    lines += [
        f"{test.candidate_id} is compared with {test.baseline_id}"
        for test in matched
        if test.candidate_id != test.baseline_id
    ]
    shift = canary_shift(
        [test for pair in pairs for test in pair.baseline.tests.values()],
        [test for pair in pairs for test in pair.candidate.tests.values()],
    )
    lines += [f"{names[1]}: {phrase}" for phrase in shift]
    other: list[str] = []
    for pair in pairs:
        for test in matched:
            a = pair.baseline.tests.get(test.baseline_id)
            b = pair.candidate.tests.get(test.candidate_id)
            if a and b:
                other += noted_differences(a, b)
    return lines + [f"{names[0]} / {names[1]}: {phrase}" for phrase in dict.fromkeys(other)]
