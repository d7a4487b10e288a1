"""Judge metrics without noise, such as memory: by a tolerance, without statistics."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.definitions import METRICS
from ..store.stored import Observation
from .matching import median
from .verdict import Verdict

TOLERANCE = 0.01
"""Share of the value; a larger absolute tolerance of the metric takes precedence."""


def tolerance(metric: str, observations: Sequence[Observation]) -> float:
    """Return the change that is allowed, in the metric's unit."""
    definition = METRICS.get(metric)
    absolute = definition.tolerance if definition else None
    return max(TOLERANCE * abs(median(observations)), absolute or 0.0)


def varies(metric: str, observations: Sequence[Observation]) -> bool:
    """Return whether the values differ by more than the tolerance: then the metric is not exact."""
    values = [o.value for o in observations]
    return max(values) - min(values) > tolerance(metric, observations)


def judge(
    metric: str, baseline: Sequence[Observation], candidate: Sequence[Observation]
) -> Verdict:
    """Return the verdict on the change of the median."""
    change = median(candidate) - median(baseline)
    if baseline[0].better == "higher":
        change = -change
    allowed = tolerance(metric, baseline)
    if change > allowed:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if change < -allowed else Verdict.PASS
