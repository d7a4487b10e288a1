"""Interleaved pairs of processes, test by test, with reasons for what cannot be compared."""

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
    """The records of a test from the two processes of a pair."""

    number: int
    baseline: TestRecord
    candidate: TestRecord

    @property
    def problem(self) -> str | None:
        """Return why the pair is not valid, or None."""
        return pair_problem(self.baseline, self.candidate)


@dataclass(frozen=True)
class PairOfObservations:
    """The observations of a metric of a test in a pair."""

    number: int
    baseline: Observation
    candidate: Observation

    @property
    def log_ratio(self) -> float | None:
        """Return the effect as a logarithm, + is worse; None if a value is not positive."""
        before, after = badness(self.baseline), badness(self.candidate)
        return None if before is None or after is None else after - before


@dataclass(frozen=True)
class MatchedPairs:
    """A test with the records of all pairs that measured it on both sides."""

    test: MatchedTest
    baseline: TestRecord
    """The test's newest record on this side."""
    candidate: TestRecord
    records: tuple[PairOfRecords, ...]
    """Records of the pairs that have the test on both sides."""
    pairs: int
    """Number of pairs in all."""

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
        """Return the valid pairs."""
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
        """Return the observations of a metric from the valid pairs that have it on both sides."""
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
    """Return every test that both sides have, with the records of its pairs."""
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
