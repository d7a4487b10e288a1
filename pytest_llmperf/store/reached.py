"""The rates behind shares of a ceiling: what was reached, whatever the ceiling of its run was.

A ceiling is the best that was seen until then, so it differs from run to run, and shares of two
ceilings do not compare. Share times ceiling, the rate that was reached, does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Rate:
    """A rate that a metric is a share of."""

    ceiling: str
    """Its key in ``environment.ceilings``."""
    size: float
    unit: str
    """Name of ``size`` bytes or operations per second."""


_RATES = {
    "mbu": _Rate("read_bytes_per_s", 1e9, "GB/s"),
    "mfu": _Rate("matmul_flops", 1e12, "TFLOP/s"),
}
SHARES = frozenset(_RATES)
"""The metrics that are shares of a ceiling."""
UNITS = frozenset(rate.unit for rate in _RATES.values())


def ceiling_of(environment: Mapping[str, Any], metric: str) -> tuple[float, str] | None:
    """Return the ceiling of a metric in a record's ``environment``, with its unit; None if unknown."""
    rate = _RATES[metric]
    value = (environment.get("ceilings") or {}).get(rate.ceiling)
    return (value / rate.size, rate.unit) if value else None


def common_share(
    share: float, environment: Mapping[str, Any], other: Mapping[str, Any], metric: str
) -> float | None:
    """Return a share of the higher one of two ceilings; None if one of them is unknown.

    Args:
        share: of the ceiling in ``environment``.
    """
    own, others = ceiling_of(environment, metric), ceiling_of(other, metric)
    if own is None or others is None:
        return None
    return share * own[0] / max(own[0], others[0])
