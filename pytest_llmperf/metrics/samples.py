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

    ``samples`` are in ``definition.unit``: one a request for ttft, e2e and tpot, one a gap for itl and
    icl, one a round for throughputs, one a process for load time and memory.
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
        """The q-th percentile (0 to 100), linear between the two nearest ranks (numpy's default)."""
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
        """Half the interquartile range over the median: 0.02 reads as "p50 +- 2 %"."""
        median = self.p50
        return (self.percentile(75) - self.percentile(25)) / 2 / median if median else 0.0

    def as_dict(self, with_samples: bool = True) -> dict[str, Any]:
        """The stored form (schema 1); ``samples`` is empty where they are left out."""
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
    """A metric of the table, or None when there is nothing to say about it.

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
    """Metrics by key, those without a sample left out."""
    found = {key: metric(key, values) for key, values in samples.items()}
    return {key: value for key, value in found.items() if value is not None}
