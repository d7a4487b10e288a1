"""Judge metrics with noise by their estimated effects."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import rule
from .limits import Limits
from .matching import Key, share
from .verdict import INTERVAL, EntryVerdict, Verdict

_UPPER = (1 + INTERVAL) / 2
"""Quantile at the upper end of the interval."""


@dataclass(frozen=True)
class Judged:
    """An entry with its effect, and its significance among all entries."""

    key: Key
    effect: rule.Effect
    baseline: float
    candidate: float
    """Medians of both sides, in the metric's unit."""
    unit: str
    is_worse: bool
    is_better: bool
    """Significantly worse or better among all entries."""
    entries: int
    """Number of entries that are judged together."""
    limits: Limits
    observation: str
    """The unit of observation, of which more would help: ``pairs`` or ``runs``."""


def verdict(judged: Judged) -> EntryVerdict:
    """Return regression, improvement, pass or inconclusive, tried in this order."""
    effect, limits = judged.effect, judged.limits
    smallest = math.log1p(limits.min_effect)
    reason = ""
    if judged.is_worse and effect.estimate >= smallest:
        answer = Verdict.REGRESSION
    elif judged.is_better and effect.estimate <= -smallest:
        answer = Verdict.IMPROVEMENT
    elif effect.bound(_UPPER) < math.log1p(limits.must_see):
        answer = Verdict.PASS
    else:
        answer, reason = Verdict.INCONCLUSIVE, _why(judged)
    return EntryVerdict(
        *judged.key,
        answer,
        unit=judged.unit,
        baseline=judged.baseline,
        candidate=judged.candidate,
        effect=share(effect.estimate),
        low=share(effect.bound(1 - _UPPER)),
        high=share(effect.bound(_UPPER)),
        detectable=_detectable(judged),
        n=effect.n,
        reason=reason,
    )


def _detectable(judged: Judged) -> float:
    return rule.detectable(judged.effect, judged.entries, judged.limits.min_effect)


def _why(judged: Judged) -> str:
    seen = f"this run could have seen >= {_detectable(judged):.1%} (80 %)"
    if judged.observation != "pairs":
        return seen
    limits = judged.limits
    need = rule.pairs_needed(judged.effect, judged.entries, limits.min_effect, limits.must_see)
    if need is None:
        return f"{seen}; {limits.must_see:.0%} needs over 200 pairs on this machine"
    if need <= judged.effect.n:
        return f"{seen}; the effect lies too near {limits.must_see:.0%} to tell"
    return f"{seen}; {limits.must_see:.0%} needs {need} pairs"
