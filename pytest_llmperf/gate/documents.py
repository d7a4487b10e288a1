"""Judge perplexity: the same documents on both sides, so that differences pair up by document."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .verdict import INTERVAL, Verdict

TOLERANCE = 0.005
"""Accepted relative growth of perplexity."""


@dataclass(frozen=True)
class QualityEffect:
    """Change of the mean negative log-likelihood, which is the logarithm of perplexity's ratio."""

    estimate: float
    low: float
    high: float
    """Ends of the paired bootstrap's interval, at the level of all intervals (``INTERVAL``)."""


def typical(observations: Sequence[Sequence[float]]) -> list[float]:
    """Return each document's median over processes; empty if their numbers of documents differ."""
    if len({len(documents) for documents in observations}) != 1:
        return []
    return [statistics.median(values) for values in zip(*observations, strict=True)]


def compare(baseline: Sequence[float], candidate: Sequence[float]) -> QualityEffect | None:
    """Return the effect from negative log-likelihoods by document; None if they do not pair up."""
    if len(baseline) != len(candidate) or len(baseline) < 2:
        return None
    change = np.asarray(candidate) - np.asarray(baseline)
    estimate = float(change.mean())
    if np.ptp(change) == 0:  # The same change in every document: nothing to resample.
        return QualityEffect(estimate, estimate, estimate)
    from scipy import stats

    interval = stats.bootstrap(
        (change,), np.mean, confidence_level=INTERVAL, method="basic", rng=np.random.default_rng(0)
    ).confidence_interval
    return QualityEffect(estimate, float(interval.low), float(interval.high))


def judge(effect: QualityEffect) -> Verdict:
    """Return the verdict on an effect.

    A regression is certainly worse and by more than the tolerance; an improvement likewise better.
    """
    allowed = math.log1p(TOLERANCE)
    if effect.low > 0 and effect.estimate > allowed:
        return Verdict.REGRESSION
    if effect.high < 0 and effect.estimate < -allowed:
        return Verdict.IMPROVEMENT
    return Verdict.PASS if effect.high <= allowed else Verdict.INCONCLUSIVE
