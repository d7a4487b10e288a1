"""How precisely a process knows a median: an interval without assumptions, and when to look at it.

The interval lies between two order statistics, so it holds for any distribution of the rounds
(Woodruff 1952; Hettmansperger and Sheather 1986). Rounds of one process drift together; the interval
is widened as if there were fewer rounds, by what the ranks of the rounds say about their dependence:
the variance of the means of batches, of one round each to a tenth of all, corrected for the correlation
that neighboring batches still have (batch means with an autoregressive correction, as in ASAP3: Steiger
et al. 2005). docs/why/precision.md has the coverage, and the drift that no interval from within a
process can see.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

_Z = 1.96
"""Quantile of the normal distribution for an interval of 95 %."""
_BATCHES = 10
"""Batches of consecutive rounds, at least, from which their variance is estimated."""
_LEAST = 6
"""Rounds without which no interval of 95 % exists, whatever they are."""
_MARGIN = 0.5
"""Standard errors that are added to an estimated correlation: it is too small as often as too large."""
_MOST_CORRELATION = 0.97
FIRST_LOOK = 10
"""Rounds before the interval is looked at."""
_TRUSTED = 20
"""Rounds from which it is trusted; before, it has to be narrower in proportion."""
_GROWTH = 1.4
"""Factor between the numbers of rounds of two looks: whoever looks after each stops too early."""


def half_interval(values: Sequence[float]) -> float | None:
    """Return how far the 95 % interval of the median reaches: 0.01 means "known to 1 %".

    Args:
        values: one per round, in the order in which they were measured.

    Returns:
        Distance of the median from the farther end of its interval, as a share of the median; None if
        the rounds are too few for an interval.
    """
    n = len(values)
    if n < _LEAST:
        return None
    middle = (n - 1) / 2
    reach = _Z / 2 * math.sqrt(n * dependence(values))
    inside = min(reach, middle)
    ordered = sorted(values)
    low, median, high = (_at(ordered, rank) for rank in (middle - inside, middle, middle + inside))
    if high == low:
        return 0.0
    # Not half of its width: of two levels, a median lies close to one end. Where rounds depend on each
    # other so much that the interval is wider than all that was seen, it is as much wider.
    farther = max(high - median, median - low) * reach / inside
    return farther / abs(median) if median else None


def dependence(values: Sequence[float]) -> float:
    """Return how many rounds say as much as one independent one would: 1 for independent rounds."""
    n = len(values)
    ordered = sorted(values)
    # Rounds below minus rounds above: of any distribution, and no outlier weighs more than others.
    ranks = [bisect_left(ordered, v) + bisect_right(ordered, v) - n for v in values]
    variance = sum(rank * rank for rank in ranks) / n
    if not variance:
        return 1.0
    most, size = 1.0, 1
    while size == 1 or n // size >= _BATCHES:
        most = max(most, _dependence_of_batches(ranks, size) / variance)
        size *= 2
    return most


def _dependence_of_batches(ranks: Sequence[int], size: int) -> float:
    """Return the long-run variance of ranks, as batches of one size show it."""
    totals = [sum(ranks[end - size : end]) for end in range(len(ranks), size - 1, -size)]
    count = len(totals)
    mean = sum(totals) / count
    deviations = [total - mean for total in totals]
    squares = sum(d * d for d in deviations)
    if not squares:
        return 0.0
    seen = sum(a * b for a, b in pairwise(deviations)) / squares
    # Around its own mean, a short series seems to be less correlated than it is (Kendall 1954).
    correlation = (count * seen + 1) / (count - 3) + _MARGIN / math.sqrt(count)
    correlation = min(max(correlation, 0.0), _MOST_CORRELATION)
    return squares / (count - 1) / size * (1 + correlation) / (1 - correlation)


def is_known(values: Sequence[float], precision: float) -> bool:
    """Return whether a median is known to a precision, at one of several looks while rounds go on."""
    half = half_interval(values)
    return half is not None and half <= precision * min(1.0, len(values) / _TRUSTED)


def next_look(rounds: int) -> int:
    """Return the number of rounds at which to look again."""
    return max(FIRST_LOOK, math.ceil(rounds * _GROWTH))


def _at(ordered: Sequence[float], rank: float) -> float:
    """Return the value at a rank from 0, linear between neighbors."""
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
