"""Judge interleaved pairs of processes, as ``pytest-llmperf ab`` measures them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..store.stored import QUALITY, TestRecord
from . import exact, rule, timing
from .comparable import noted_differences
from .disturbances import canary_shift, disturbances
from .limits import FIRST_PAIRS, LimitSettings
from .matched_pairs import Pair, PairOfObservations, matched_pairs, tests_of
from .matching import Key, MatchedTest, Repeats, match, median
from .measured import measured
from .observed import Observed
from .verdict import EntryVerdict, Judgement, Verdict

__all__ = ["Pair", "judge", "suspects", "tests_of"]

SUSPECT_P = 0.20
SUSPECT_EFFECT = 0.015


@dataclass(frozen=True)
class _Entry:
    """An entry with the observations of both sides, pair by pair."""

    key: Key
    test: TestRecord
    """The candidate's newest record."""
    pairs: tuple[PairOfObservations, ...]
    first_pairs: int | None
    """Number of the last pair that all tests had; None: all of them."""

    @property
    def observed(self) -> Observed:
        before = tuple(pair.baseline for pair in self.pairs)
        after = tuple(pair.candidate for pair in self.pairs)
        return Observed(self.key, before, after, len(self.pairs))

    @property
    def is_timing(self) -> bool:
        """Return whether the metric has noise to test, as memory has if it varies in the baseline."""
        kind = self.pairs[0].baseline.kind
        if kind != "exact":
            return kind != QUALITY
        # Later pairs run fewer tests in a process, whose memory may differ for that reason.
        first = [pair.baseline for pair in self._first]
        return exact.varies(self.key[1], first or [pair.baseline for pair in self.pairs])

    @property
    def log_ratios(self) -> list[float]:
        return _known(pair.log_ratio for pair in self.pairs)

    @property
    def first_log_ratios(self) -> list[float]:
        """Return the log-ratios of the pairs that all tests had."""
        return _known(pair.log_ratio for pair in self._first)

    @property
    def _first(self) -> list[PairOfObservations]:
        last = self.first_pairs
        return [pair for pair in self.pairs if last is None or pair.number <= last]


@dataclass(frozen=True)
class _Suite:
    """The effects of all entries, and the significant ones among them."""

    effects: dict[Key, rule.Effect]
    worse: set[Key]
    better: set[Key]


def suspects(pairs: Sequence[Pair], settings: LimitSettings) -> set[Key]:
    """Return the entries that look worse after the first pairs, by a lenient rule.

    Their tests deserve more pairs.
    """
    entries, _ = _entries(pairs, None)
    effects = _effects(entries)
    keys = set()
    for entry in entries:
        effect = effects.get(entry.key)
        # Half of the smallest regression, if that is set below the default.
        limits = settings.of(entry.key[1], "pairs", entry.test)
        least = min(SUSPECT_EFFECT, limits.min_effect / 2)
        if effect and effect.p_worse < SUSPECT_P and effect.estimate >= least:
            keys.add(entry.key)
    return keys


def judge(
    pairs: Sequence[Pair],
    settings: LimitSettings,
    *,
    first: int = FIRST_PAIRS,
    in_two_stages: bool = True,
    failures: Iterable[str] = (),
    names: tuple[str, str] = ("base", "head"),
) -> Judgement:
    """Judge every entry that both sides measured.

    Args:
        first: pairs up to this number ran all tests; later ones only tests with suspect entries.
        in_two_stages: entries that were not suspect after the first pairs cannot regress by later
            ones (their p is 1), which keeps the error rate.
        failures: measurements that failed, for the report.
    """
    entries, incomparable = _entries(pairs, first)
    effects = _effects(entries)
    eligible = (
        suspects([p for p in pairs if p.number <= first], settings)
        if in_two_stages
        else set(effects)
    )
    suite = _Suite(
        effects,
        worse=rule.significant(
            {k: e.p_worse if k in eligible else 1.0 for k, e in effects.items()}
        ),
        better=rule.significant({k: e.p_better for k, e in effects.items()}),
    )
    verdicts = [
        _judge_timing(entry, suite, settings) if entry.is_timing else entry.observed.judge()
        for entry in entries
    ]
    base, head = tests_of(pairs)
    matched = match(base, head)
    return Judgement(
        mode="pairs",
        baseline=names[0],
        candidate=names[1],
        entries=tuple(verdicts + incomparable),
        new=tuple(sorted(set(head) - {m.candidate_id for m in matched})),
        gone=tuple(sorted(set(base) - {m.baseline_id for m in matched})),
        failures=tuple(failures),
        notes=tuple(_notes(pairs, matched, names)),
        settings={"pairs": len(pairs), "first_pairs": first, "in_turns": in_turns(pairs)},
        measured=measured(base.values(), head.values()),
    )


def in_turns(pairs: Iterable[Pair]) -> tuple[int, int]:
    """Return how many measurements alternated their rounds with the other side's, and of how many."""
    tests = [
        test
        for pair in pairs
        for run in (pair.baseline, pair.candidate)
        for test in run.tests.values()
    ]
    seen = [test.environment["conditions"] for test in tests if "conditions" in test.environment]
    return sum(conditions.get("in_turns") == 1 for conditions in seen), len(seen)


def _entries(pairs: Sequence[Pair], first: int | None) -> tuple[list[_Entry], list[EntryVerdict]]:
    """Return the entries to judge, and verdicts on those that cannot be compared.

    Args:
        first: number of the last pair that all tests had; None: all of them.
    """
    entries: list[_Entry] = []
    incomparable: list[tuple[Key, str]] = []
    repeats = Repeats()
    for test in matched_pairs(pairs):
        nodeid = test.test.candidate_id
        incomparable += [((nodeid, metric), "head no longer has it") for metric in test.lost]
        problem = test.problem
        for metric in test.shared:
            if repeats.is_copy(metric, test.baseline.cell):
                continue
            observations = test.observations(metric)
            reason = problem or ("" if observations else "no pair has it on both sides")
            if reason:
                incomparable.append(((nodeid, metric), reason))
            else:
                entries.append(_Entry((nodeid, metric), test.candidate, observations, first))
    return entries, [
        EntryVerdict(*key, Verdict.NOT_COMPARABLE, reason=reason) for key, reason in incomparable
    ]


def _effects(entries: Sequence[_Entry]) -> dict[Key, rule.Effect]:
    noisy = [entry for entry in entries if entry.is_timing]
    return rule.paired(
        {entry.key: entry.log_ratios for entry in noisy},
        {entry.key: entry.first_log_ratios for entry in noisy},
        {entry.key: rule.Place(*entry.key) for entry in noisy},
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _judge_timing(entry: _Entry, suite: _Suite, settings: LimitSettings) -> EntryVerdict:
    effect = suite.effects.get(entry.key)
    if effect is None:
        reason = "fewer than two pairs have a positive value"
        return EntryVerdict(*entry.key, Verdict.NOT_COMPARABLE, reason=reason)
    observed = entry.observed
    return timing.verdict(
        timing.Judged(
            key=entry.key,
            effect=effect,
            baseline=median(observed.baseline),
            candidate=median(observed.candidate),
            unit=observed.unit,
            is_worse=entry.key in suite.worse,
            is_better=entry.key in suite.better,
            entries=len(suite.effects),
            limits=settings.of(entry.key[1], "pairs", entry.test),
            observation="pairs",
        )
    )


def _notes(
    pairs: Sequence[Pair], matched: Sequence[MatchedTest], names: tuple[str, str]
) -> list[str]:
    """Return notes on the conditions of either side and on versions that differ between them."""
    runs = [
        (name, run)
        for pair in pairs
        for name, run in zip(names, (pair.baseline, pair.candidate), strict=True)
    ]
    times = Counter(
        f"{name}: {phrase}"
        for name, run in runs
        for phrase in {p for test in run.tests.values() for p in disturbances(test)}
    )
    shift = canary_shift(
        [test for pair in pairs for test in pair.baseline.tests.values()],
        [test for pair in pairs for test in pair.candidate.tests.values()],
    )
    both = [
        (pair.baseline.tests.get(test.baseline_id), pair.candidate.tests.get(test.candidate_id))
        for pair in pairs
        for test in matched
    ]
    other = [phrase for a, b in both if a and b for phrase in noted_differences(a, b)]
    alternated, measured = in_turns(pairs)
    return [
        *(
            [f"rounds of both sides alternated in {alternated} of {measured} measurements"]
            if alternated
            else []
        ),
        *(f"{line} (in {n} of {len(pairs)} runs)" for line, n in times.items()),
        *(
            f"{test.candidate_id} is compared with {test.baseline_id}"
            for test in matched
            if test.candidate_id != test.baseline_id
        ),
        *(f"{names[1]}: {phrase}" for phrase in shift),
        *(f"{names[0]} / {names[1]}: {phrase}" for phrase in dict.fromkeys(other)),
    ]
