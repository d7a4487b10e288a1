"""Interleaved pairs of processes, test by test: what can be compared, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..store.stored import Observation, StoredRun, TestRecord
from .comparable import differences
from .disturbances import pair_problem
from .matching import MatchedTest, all_tests, badness, match


@dataclass(frozen=True)
class Pair:
    """Two processes that ran one after the other."""

    number: int
    baseline: StoredRun
    candidate: StoredRun


@dataclass(frozen=True)
class PairOfRecords:
    """One test as the two processes of a pair recorded it."""

    number: int
    baseline: TestRecord
    candidate: TestRecord

    @property
    def problem(self) -> str | None:
        """Return why the pair says nothing."""
        return pair_problem(self.baseline, self.candidate)


@dataclass(frozen=True)
class PairOfObservations:
    """One metric of one test in a pair."""

    number: int
    baseline: Observation
    candidate: Observation

    @property
    def log_ratio(self) -> float | None:
        """Return the effect, + is worse; None if a value is not positive."""
        before, after = badness(self.baseline), badness(self.candidate)
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class MatchedPairs:
    """One test as the pairs of processes measured it on both sides."""

    test: MatchedTest
    baseline: TestRecord
    """Its newest record on this side."""
    candidate: TestRecord
    records: tuple[PairOfRecords, ...]
    """Of the pairs that have the test on both sides."""
    pairs: int
    """How many pairs there are in all."""

    @property
    def lost(self) -> list[str]:
        """Return the metrics that only the baseline has."""
        return [key for key in self.baseline.metrics if key not in self.candidate.metrics]

    @property
    def shared(self) -> list[str]:
        """Return the metrics that both sides have."""
        return [key for key in self.candidate.metrics if key in self.baseline.metrics]

    @property
    def kept(self) -> list[PairOfRecords]:
        """Return the pairs that say something."""
        return [pair for pair in self.records if not pair.problem]

    @property
    def problem(self) -> str:
        """Return why the test cannot be compared; empty if it can."""
        reasons = [
            reason
            for pair in self.records
            for reason in differences(pair.baseline, pair.candidate, same_engine=False)
        ]
        if not reasons and len(self.kept) < 2:
            dropped = dict.fromkeys(pair.problem for pair in self.records if pair.problem)
            why = f" ({'; '.join(dropped)})" if dropped else ""
            reasons = [f"{len(self.kept)} of {self.pairs} pairs could be used{why}"]
        return "; ".join(dict.fromkeys(reasons))

    def observations(self, metric: str) -> tuple[PairOfObservations, ...]:
        """Return what the pairs that say something have of a metric on both sides."""
        return tuple(
            PairOfObservations(
                pair.number, pair.baseline.metrics[metric], pair.candidate.metrics[metric]
            )
            for pair in self.kept
            if metric in pair.baseline.metrics and metric in pair.candidate.metrics
        )


def tests_of(pairs: Sequence[Pair]) -> tuple[dict[str, TestRecord], dict[str, TestRecord]]:
    """Return every test of each side, baseline and candidate."""
    return all_tests(p.baseline for p in pairs), all_tests(p.candidate for p in pairs)


def matched_pairs(pairs: Sequence[Pair]) -> list[MatchedPairs]:
    """Return every test that both sides have, as the pairs measured it."""
    base, head = tests_of(pairs)
    return [
        MatchedPairs(
            test,
            base[test.baseline_id],
            head[test.candidate_id],
            tuple(
                PairOfRecords(
                    pair.number,
                    pair.baseline.tests[test.baseline_id],
                    pair.candidate.tests[test.candidate_id],
                )
                for pair in pairs
                if test.baseline_id in pair.baseline.tests
                and test.candidate_id in pair.candidate.tests
            ),
            len(pairs),
        )
        for test in match(base, head)
    ]
