"""Metrics without noise: memory and token counts. No statistics, a tolerance."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.stored import Observation
from .matching import median
from .verdict import Verdict

TOLERANCE = 0.01
TOLERANCE_MIB = 16.0
"""An allocator rounds up, and a small model's per cent are its rounding."""


def tolerance(observations: Sequence[Observation]) -> float:
    """How much a value may change, in its unit."""
    share = TOLERANCE * median(observations)
    return max(share, TOLERANCE_MIB) if observations[0].unit == "MiB" else share


def varies(observations: Sequence[Observation]) -> bool:
    """Whether the baseline itself moves by more than the tolerance: then it is no exact metric."""
    values = [o.value for o in observations]
    return max(values) - min(values) > tolerance(observations)


def judge(baseline: Sequence[Observation], candidate: Sequence[Observation]) -> Verdict:
    """Compare medians."""
    change = median(candidate) - median(baseline)
    if baseline[0].better == "higher":
        change = -change
    allowed = tolerance(baseline)
    if change > allowed:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if change < -allowed else Verdict.PASS
