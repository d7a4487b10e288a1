"""The statistics of an entry, as pytest-benchmark writes them, without its classes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_NUMBERS = ("rounds", "iterations", "outliers", "iqr_outliers", "stddev_outliers")
"""Statistics that are the same for samples of another size."""


def scaled(entry: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the ``stats`` of an entry with all samples so many times as large."""
    values = dict(entry)
    for key, value in entry.items():
        if isinstance(value, (int, float)) and key not in _NUMBERS:
            values[key] = value / factor if key == "ops" else value * factor
    if "data" in entry:
        values["data"] = [value * factor for value in entry["data"]]
    return values


def stats(samples: Sequence[float]) -> dict[str, Any]:
    """Return the ``stats`` of an entry; quartiles are inclusive.

    Args:
        samples: in seconds or in the metric's unit, at least one.
    """
    ordered = sorted(samples)
    mean = statistics.fmean(ordered)
    stddev = statistics.stdev(ordered) if len(ordered) > 1 else 0.0
    q1, _, q3 = (
        statistics.quantiles(ordered, n=4, method="inclusive")
        if len(ordered) > 1
        else (ordered * 3)
    )
    iqr = q3 - q1
    inside = [s for s in ordered if q1 - 1.5 * iqr <= s <= q3 + 1.5 * iqr]
    iqr_outliers = len(ordered) - len(inside)
    stddev_outliers = sum(1 for s in ordered if abs(s - mean) > stddev)
    total = sum(ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": len(ordered),
        "median": statistics.median(ordered),
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": stddev_outliers,
        "outliers": f"{stddev_outliers};{iqr_outliers}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": len(ordered) / total if total else 0,
        "total": total,
        "data": list(samples),
        "iterations": 1,
    }
