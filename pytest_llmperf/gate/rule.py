"""The statistical rule: log-ratios in, estimates out. Pure maths, no files.

An entry is one metric of one test. An effect is the logarithm of candidate over baseline, turned so that
plus is worse. The unit of observation is a process (a CI job in a history), never a round: rounds of
one process share its deviation. The variance of an entry is shrunk towards the typical one of its metric
(Smyth 2004, the moderated t of limma), false alarms are controlled over all entries (Benjamini and
Hochberg 1995), and an effect has to be both significant and large enough to matter.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import special

from .matching import share

K = TypeVar("K", bound=Hashable)

ERROR_RATE = 0.05
PRIOR_DF = 3.0
"""Degrees of freedom that the typical variance of a metric counts as."""
PAIRED_FLOOR = 0.0015
"""Least standard error of a paired estimate, whatever the number of pairs."""
HISTORY_FLOOR = 0.0025
POWER = 0.8


@dataclass(frozen=True)
class Effect:
    """An estimated effect, as a logarithm; plus is worse."""

    estimate: float
    error: float
    """Standard error."""
    df: float
    n: int
    """Pairs, or jobs of the baseline."""
    deviation: float
    """Shrunk standard deviation of one observation (of one pair's difference)."""

    def bound(self, level: float) -> float:
        """Return a quantile of the estimate's uncertainty: 0.95 gives the upper one-sided bound."""
        return self.estimate + _quantile(level, self.df) * self.error

    @property
    def p_worse(self) -> float:
        return float(special.stdtr(self.df, -self.estimate / self.error))

    @property
    def p_better(self) -> float:
        return float(special.stdtr(self.df, self.estimate / self.error))


@dataclass(frozen=True)
class Place:
    """Test and metric of an entry: variance is shared between the tests of one metric."""

    test: Hashable
    metric: Hashable


def paired(
    differences: Mapping[K, Sequence[float]],
    first: Mapping[K, Sequence[float]],
    places: Mapping[K, Place],
) -> dict[K, Effect]:
    """Return the effects of interleaved pairs.

    Args:
        differences: per entry, the log-ratio of each pair, in order; entries with fewer than two pairs
            get no effect.
        first: per entry, the log-ratios of the pairs that all tests had; the typical variance comes
            from these only, so that entries that were measured again because they looked bad do not
            influence it.
        places: test and metric of each entry.
    """
    usable = {entry: values for entry, values in differences.items() if len(values) > 1}
    typical = _typical({entry: v for entry, v in first.items() if len(v) > 1}, places)
    effects = {}
    for entry, values in usable.items():
        k = len(values) - 1
        variance, prior = typical.get(places[entry].metric, (0.0, 0.0))
        deviation = _shrunk(float(np.var(values, ddof=1)), k, variance, prior)
        error = max(deviation / math.sqrt(len(values)), PAIRED_FLOOR)
        effects[entry] = Effect(float(np.mean(values)), error, prior + k, len(values), deviation)
    return effects


def against_history(
    candidate: Mapping[K, float],
    baseline: Mapping[K, Sequence[float]],
    places: Mapping[K, Place],
) -> dict[K, Effect]:
    """Return the effects of one new job against jobs of the past.

    Args:
        candidate: per entry, the new job's mean log value.
        baseline: per entry, the mean log value of each past job; entries with fewer than two get none.
        places: test and metric of each entry.
    """
    usable = {entry: v for entry, v in baseline.items() if len(v) > 1 and entry in candidate}
    typical = _typical(usable, places)
    effects = {}
    for entry, values in usable.items():
        k = len(values) - 1
        variance, prior = typical[places[entry].metric]
        deviation = _shrunk(float(np.var(values, ddof=1)), k, variance, prior)
        error = max(deviation, HISTORY_FLOOR) * math.sqrt(1 + 1 / len(values))
        estimate = candidate[entry] - float(np.mean(values))
        effects[entry] = Effect(estimate, error, prior + k, len(values), deviation)
    return effects


def significant(p_values: Mapping[K, float]) -> set[K]:
    """Return the entries that Benjamini and Hochberg's procedure keeps.

    Entries that cannot be significant for another reason belong in it all the same, with p = 1.
    """
    if not p_values:
        return set()
    # Takes longest to import: not before something is judged.
    from scipy import stats

    adjusted = stats.false_discovery_control(list(p_values.values()), method="bh")
    return {entry for entry, p in zip(p_values, adjusted, strict=True) if p <= ERROR_RATE}


def detectable(effect: Effect, entries: int, min_effect: float) -> float:
    """Return the smallest regression (0.05 is 5 %) that such a run detects in 80 of 100 cases."""
    return share(_detectable(effect.error, effect.df, entries, min_effect))


def pairs_needed(effect: Effect, entries: int, min_effect: float, must_see: float) -> int | None:
    """Return the number of pairs that detects a regression of ``must_see`` in 80 of 100 cases.

    None above 200.
    """
    target = math.log1p(must_see)
    for pairs in range(2, 201):
        error = max(effect.deviation / math.sqrt(pairs), PAIRED_FLOOR)
        df = effect.df - effect.n + pairs
        if _detectable(error, df, entries, min_effect) <= target:
            return pairs
    return None


def _detectable(error: float, df: float, entries: int, min_effect: float) -> float:
    significant_at = -_quantile(ERROR_RATE / entries, df) * error
    margin = _quantile(POWER, df) * error
    return max(significant_at, math.log1p(min_effect)) + margin


def _quantile(level: float, df: float) -> float:
    """Return the quantile of Student's t."""
    return float(special.stdtrit(df, level))


def _typical(
    samples: Mapping[K, Sequence[float]], places: Mapping[K, Place]
) -> dict[Hashable, tuple[float, float]]:
    """Return by metric the typical variance over its tests, and the degrees of freedom it counts as.

    The noise of one metric says nothing about another's: on a GPU the time per token varies by 0.5 %
    between processes, the time to first token by 10 %. The median of a chi-square is not its mean, hence
    the divisor. A metric with one test has no other test to borrow from, so the other tests bound the
    degrees of freedom.
    """
    typical: dict[Hashable, tuple[float, float]] = {}
    for metric in {places[entry].metric for entry in samples}:
        of_metric = {e: values for e, values in samples.items() if places[e].metric == metric}
        variances = []
        for values in of_metric.values():
            k = len(values) - 1
            median = float(special.chdtri(k, 0.5)) / k
            variances.append(float(np.var(values, ddof=1)) / median)
        others = len({places[entry].test for entry in of_metric}) - 1
        least = min(len(values) for values in of_metric.values()) - 1
        typical[metric] = float(np.median(variances)), min(PRIOR_DF, float(others * least))
    return typical


def _shrunk(variance: float, k: int, typical: float, prior: float) -> float:
    return math.sqrt((prior * typical + k * variance) / (prior + k))
