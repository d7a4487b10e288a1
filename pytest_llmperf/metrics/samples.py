"""The samples of a metric, and the statistics over them."""

from __future__ import annotations

import difflib
import math
import numbers
import re
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.values import shown
from .definitions import METRICS, MetricDefinition
from .precision import half_interval

PERCENTILES = (50, 90, 95, 99)
# 5 / (1 - q): enough for five samples beyond the percentile.
_NEEDED = {f"p{q}": 500 // (100 - q) for q in PERCENTILES if q > 50}
_STATISTICS = (
    "p50",
    "p90",
    "p95",
    "p99",
    "mean",
    "min",
    "max",
    "spread",
    "half_interval",
    "imprecise",
    "n",
    "samples",
)
_BY_ROUND = ("request", "gap", "round")


class FewSamplesWarning(UserWarning):
    """A test reads a percentile that its samples are too few for."""


def needed_samples(stat: str) -> int:
    """Return the samples that a statistic needs: 50, 100, 500 for p90, p95, p99; 1 for any other."""
    return _NEEDED.get(stat, 1)


@dataclass(frozen=True, repr=False)
class Metric:
    """The samples of one metric in one measurement, and the statistics over them.

    ``samples`` are in ``definition.unit``, one per ``definition.per``.
    """

    definition: MetricDefinition
    samples: tuple[float, ...]
    warns: bool = field(default=False, compare=False)
    """``p90``, ``p95`` and ``p99`` warn if the samples are too few: a test reads them."""
    rounds: int = field(default=0, compare=False)
    """Rounds that the samples come from, as many from each; 0 if they do not come from rounds."""
    precision: float | None = field(default=None, compare=False)
    """The share of the median to which it had to be known; None if the rounds were a fixed number."""

    def __repr__(self) -> str:
        if not self.samples:
            return f"{self.key}: no samples"
        if self.n == 1:
            return f"{self.key}: {self._shown(self.samples[0])}, n 1"
        high = "p95" if self.n >= needed_samples("p95") else "max"
        value = self.percentile(95) if high == "p95" else self.max
        return f"{self.key}: p50 {self._shown(self.p50)}, {high} {self._shown(value)}, n {self.n}"

    def _shown(self, value: float) -> str:
        """Return a value in a unit that suits its size."""
        size, unit = 1.0, self.unit
        if unit == "s":
            sizes = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
            size, unit = next(((u, n) for u, n in sizes if abs(value) >= u), sizes[-1])
        number = value / size
        return (
            f"{number:,.0f} {unit}".strip()
            if abs(number) >= 1e3
            else f"{number:.3g} {unit}".strip()
        )

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
        if isinstance(q, bool) or not isinstance(q, numbers.Real) or not 0 <= q <= 100:
            __tracebackhide__ = True
            raise ValueError(f"a percentile is between 0 and 100, not {shown(q)}")
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
        return self._high(90)

    @property
    def p95(self) -> float:
        return self._high(95)

    @property
    def p99(self) -> float:
        return self._high(99)

    def _high(self, q: int) -> float:
        needed = needed_samples(f"p{q}")
        if self.warns and self.n < needed:
            instead = "p50 or max" if self.n > 1 else "max"
            warnings.warn(
                FewSamplesWarning(
                    f"{self.key}.p{q} needs {needed} samples and has {self.n}: read {instead}, or "
                    "measure more rounds"
                ),
                stacklevel=3,
            )
        return self.percentile(q)

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median: 0.02 means "p50 ± 2 %"."""
        median = self.p50
        return (self.percentile(75) - self.percentile(25)) / 2 / median if median else 0.0

    @property
    def by_round(self) -> tuple[float, ...]:
        """The median of each round; empty if it is not known which samples are a round's."""
        size, rest = divmod(self.n, self.rounds) if self.rounds else (0, 0)
        if rest or not size:
            return ()
        return tuple(
            statistics.median(self.samples[start : start + size])
            for start in range(0, self.n, size)
        )

    @property
    def half_interval(self) -> float | None:
        """Reach of the 95 % interval of the median, as a share of it: 0.01 means "p50 is known to 1 %".

        Requests of a round count as one observation. None if the rounds are too few to know it.
        """
        return half_interval(self.by_round)

    @property
    def imprecise(self) -> bool:
        """Whether the rounds ended before the median was known to the precision that was asked for."""
        if self.precision is None or not self.rounds:
            return False
        half = self.half_interval
        return half is None or half > self.precision

    if not TYPE_CHECKING:  # For a type checker, a wrong name and a comparison are errors anyhow.

        def __getattr__(self, name: str) -> NoReturn:
            __tracebackhide__ = True
            if name.startswith("_"):
                raise AttributeError(name)
            raise AttributeError(f"{self.key} has no {name}; {_instead(name)}")

        def _no_number(self, *_: object) -> NoReturn:
            __tracebackhide__ = True
            many = f"{self.n} sample{'' if self.n == 1 else 's'}"
            raise TypeError(
                f"{self.key} holds {many}, not one number: write {self.key}.p50, or mean, min, max, p95"
            )

        # Each of them would be about a statistic that is not named.
        __lt__ = __le__ = __gt__ = __ge__ = __float__ = __round__ = _no_number
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_number
        __truediv__ = __rtruediv__ = _no_number

        def __format__(self, spec: str) -> str:
            __tracebackhide__ = True
            return self._no_number() if spec else repr(self)

    def as_dict(self, with_samples: bool = True) -> dict[str, Any]:
        """Return the stored form (schema 1); ``samples`` is empty without samples."""
        part = {
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
        if self.rounds:
            part["half_interval"] = self.half_interval
        if self.imprecise:
            part["imprecise"] = True
        return part


def _instead(name: str) -> str:
    """Return what to write in the place of a statistic that does not exist."""
    known = f"it has {', '.join(_STATISTICS)}"
    if match := re.fullmatch(r"p(\d{1,2}(?:_\d+)?|100)", name):
        return f"{known}, and percentile({match[1].replace('_', '.')})"
    words = {"median": "p50", "average": "mean", "avg": "mean", "value": "p50"}
    near = [words[name]] if name in words else difflib.get_close_matches(name, _STATISTICS, 1)
    return f"did you mean {near[0]}? {known}" if near else known


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


def of_these_rounds(
    metrics: Mapping[str, Metric], rounds: int, precision: float | None
) -> dict[str, Metric]:
    """Return metrics with the rounds that those of them come from that have a sample in each.

    Args:
        rounds: number of measured rounds.
        precision: the share of the median to which it had to be known; None: the number was fixed.
    """
    return {
        key: replace(metric, rounds=rounds, precision=precision)
        if metric.definition.per in _BY_ROUND
        else metric
        for key, metric in metrics.items()
    }


def known(samples: Mapping[str, Sequence[float]]) -> dict[str, Metric]:
    """Return metrics by key; those without samples are left out."""
    metrics = {key: metric(key, values) for key, values in samples.items()}
    return {key: value for key, value in metrics.items() if value is not None}
