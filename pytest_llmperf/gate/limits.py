"""The gate's limits: the size of a regression, for all entries or for some.

A test's marker and the ini file are known when it runs, so its record holds their limits; the command
line of a comparison takes precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..store.stored import TestRecord

MIN_EFFECT = 0.03
CONCURRENT_TTFT_MIN_EFFECT = 0.05
"""Requests that arrive together wait for each other, and the scheduler chooses the order."""
MUST_SEE = {"pairs": 0.05, "history": 0.10}
FIRST_PAIRS = 3
"""Pairs of processes that run all tests."""
MORE_PAIRS = 5
"""Further pairs, which run only the tests that look worse after the first ones."""


MOST_PAIRS = 1000
"""More than anybody waits for: a number above it is a slip."""


@dataclass(frozen=True)
class Limits:
    """Limits of one entry, as ratios: 0.03 is 3 %."""

    min_effect: float
    """A smaller change is not a regression, however certain it is."""
    must_see: float
    """A comparison that could have missed so large a regression does not pass."""


@dataclass(frozen=True)
class LimitSettings:
    """Limits from the command line; None if not given."""

    min_effect: float | None = None
    must_see: float | None = None

    def of(self, metric: str, mode: str, test: TestRecord) -> Limits:
        """Return the limits of an entry.

        Args:
            mode: ``pairs`` or ``history``.
            test: its record has the batch size, and the limits of its marker and the ini file: a
                number for every metric, or a mapping by metric.
        """
        concurrent = metric == "ttft" and (test.workload.get("batch_size") or 1) > 1
        default = CONCURRENT_TTFT_MIN_EFFECT if concurrent else MIN_EFFECT
        min_effect = _first(self.min_effect, _of_test(test.limits, "min_effect", metric), default)
        must_see = _first(self.must_see, _of_test(test.limits, "must_see", metric), MUST_SEE[mode])
        # A change that is too small for a regression does not have to be seen.
        return Limits(min_effect, max(must_see, min_effect))


def _of_test(limits: Mapping[str, Any], name: str, metric: str) -> float | None:
    value = limits.get(name)
    if isinstance(value, Mapping):
        value = value.get(metric, value.get("*"))
    return None if value is None else float(value)


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
