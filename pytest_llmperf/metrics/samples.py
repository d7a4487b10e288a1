"""The samples of a metric, and the statistics over them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .definitions import METRICS, MetricDefinition

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Metric:
    """The samples of one metric in one measurement, and the statistics over them.

    ``samples`` are in ``definition.unit``, one per ``definition.per``.
    """

    definition: MetricDefinition
    samples: tuple[float, ...]

    @property
    def key(self) -> str:
        return self.definition.key

    @property
    def unit(self) -> str:
        return self.definition.unit

    @property
    def n(self) -> int:
        return len(self.samples)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.samples)

    @property
    def min(self) -> float:
        return min(self.samples)

    @property
    def max(self) -> float:
        return max(self.samples)

    def percentile(self, q: float) -> float:
        """Return the q-th percentile (0 to 100), linear between ranks as numpy's default is."""
        if not 0 <= q <= 100:
            raise ValueError(f"a percentile is between 0 and 100, not {q}")
        ordered = sorted(self.samples)
        rank = (len(ordered) - 1) * q / 100
        low = math.floor(rank)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median: 0.02 means "p50 ± 2 %"."""
        median = self.p50
        return (self.percentile(75) - self.percentile(25)) / 2 / median if median else 0.0

    def as_dict(self, with_samples: bool = True) -> dict[str, Any]:
        """Return the stored form (schema 1); ``samples`` is empty without samples."""
        return {
            "unit": self.unit,
            "better": self.definition.better,
            "kind": self.definition.kind,
            "n": self.n,
            "mean": self.mean,
            "min": self.min,
            "max": self.max,
            **{f"p{q}": self.percentile(q) for q in PERCENTILES},
            "samples": list(self.samples) if with_samples else [],
        }


def metric(key: str, samples: Sequence[float]) -> Metric | None:
    """Return a metric of the registry, or None without samples.

    Raises:
        ValueError: for an unknown key, or a sample that is not a finite number.
    """
    if key not in METRICS:
        raise ValueError(f"unknown metric {key!r}")
    bad = [s for s in samples if not math.isfinite(s)]
    if bad:
        raise ValueError(f"{key}: sample {bad[0]} is not a finite number")
    return Metric(METRICS[key], tuple(float(s) for s in samples)) if samples else None


def known(samples: Mapping[str, Sequence[float]]) -> dict[str, Metric]:
    """Return metrics by key; those without samples are left out."""
    metrics = {key: metric(key, values) for key, values in samples.items()}
    return {key: value for key, value in metrics.items() if value is not None}
