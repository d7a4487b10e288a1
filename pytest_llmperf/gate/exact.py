"""Judge metrics without noise, such as memory: by a tolerance, without statistics."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.stored import Observation
from .matching import median
from .verdict import Verdict

TOLERANCE = 0.01
"""Share of the value; an absolute tolerance counts where it is larger."""
TOLERANCE_MIB = 16.0
"""An allocator rounds up, and 1 % of a small model is its rounding."""
TOLERANCES = {"kl_divergence": 0.001, "top1_agreement": 0.005}
"""By metric, in its unit: these are near 0 or 1, where 1 % is less than what rounding changes."""


def tolerance(metric: str, observations: Sequence[Observation]) -> float:
    """Return by how much a value may change, in its unit."""
    share = TOLERANCE * abs(median(observations))
    in_mib = TOLERANCE_MIB if observations[0].unit == "MiB" else 0.0
    return max(share, TOLERANCES.get(metric, in_mib))


def varies(metric: str, observations: Sequence[Observation]) -> bool:
    """Return whether the baseline itself moves by more than the tolerance: then it is not exact."""
    values = [o.value for o in observations]
    return max(values) - min(values) > tolerance(metric, observations)


def judge(
    metric: str, baseline: Sequence[Observation], candidate: Sequence[Observation]
) -> Verdict:
    """Compare medians."""
    change = median(candidate) - median(baseline)
    if baseline[0].better == "higher":
        change = -change
    allowed = tolerance(metric, baseline)
    if change > allowed:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if change < -allowed else Verdict.PASS
