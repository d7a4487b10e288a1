"""Budgets (``--llm-fail-if``): limits that a measurement has to keep, and when it breaks them.

A percentile is judged only with enough samples to carry it. How many a measurement will have is known
before it starts, so a test that could not carry one fails before it costs anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.values import one_of
from ..core.workload import Workload
from ..metrics.definitions import METRICS, POOLED
from ..metrics.samples import PERCENTILES
from ..store.schema import Record, statistic

OPTION = "--llm-fail-if"
STATS = ("mean", "min", "max", *(f"p{q}" for q in PERCENTILES))
SHOWN = 5
"""Tests without a baseline that the summary names; the rest is counted."""
# 5 / (1 - q): so many that five of them lie beyond the percentile.
_NEEDED = {f"p{q}": 500 // (100 - q) for q in PERCENTILES if q > 50}
_ONE_SAMPLE = (
    "load_time",
    "perplexity",
    "kl_divergence",
    "top1_agreement",
    "energy_per_output_token",
    "energy_per_token",
)
_PER_REQUEST = ("ttft", "e2e", "tpot", *POOLED)
_UNITS: Mapping[str, Mapping[str, float]] = {
    "s": {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6},
    "MiB": {"": 1.0, "MiB": 1.0, "GiB": 1024.0},
}
_NO_UNIT: Mapping[str, float] = {"": 1.0}
_TAKES = {
    "s": "a time takes s, ms or us (bare: seconds)",
    "MiB": "a memory takes MiB or GiB (bare: MiB)",
}
_LIMIT = re.compile(r"\s*([+-]?)(\d+\.?\d*|\.\d+)\s*(%|[^\W\d]*)\s*")

Baseline = Callable[[Record, str, str], float | None]
"""``baseline(record, metric, stat)``: what a relative budget starts from, in the metric's unit.

The record is the measurement's own, for its test id, work and hardware; None: nothing to compare with.
"""


@dataclass(frozen=True)
class Budget:
    """One limit on one statistic of one metric."""

    metric: str
    stat: str
    limit: float
    """In the metric's unit; a relative one is a share of the baseline, so 0.05 is ``+5%``."""
    relative: bool
    text: str
    """As it was written."""

    @property
    def name(self) -> str:
        return f"{self.metric}.{self.stat}"

    @property
    def needed(self) -> int:
        """Samples that carry the statistic."""
        return needed_samples(self.stat)

    def breaks(self, value: float, limit: float) -> bool:
        """Whether a value is on the wrong side: a time or memory above, a rate below."""
        return value > limit if METRICS[self.metric].better == "lower" else value < limit


def needed_samples(stat: str) -> int:
    """Samples that carry a statistic: 50, 100 and 500 for p90, p95 and p99, 1 for any other."""
    return _NEEDED.get(stat, 1)


def parse_budget(text: str) -> Budget:
    """``ttft.p95:200ms``, ``output_throughput.mean:30``, ``tpot.p50:+5%`` as a Budget.

    Raises:
        ValueError: one line that says what is wrong and what would be right.
    """
    target, colon, written = text.partition(":")
    key, dot, stat = target.strip().partition(".")
    if not colon or not dot:
        raise ValueError(f"{text!r} is not of the form METRIC.STAT:LIMIT, e.g. ttft.p95:200ms")
    one_of("metric", tuple(METRICS))(key)
    one_of("statistic", STATS)(stat)
    if needed_samples(stat) > 1 and _has_one_sample(key):
        raise ValueError(
            f"{text!r}: {key} has one sample a measurement, which carries no {stat}; "
            f"give {key}.max:{written.strip()}"
        )
    match = _LIMIT.fullmatch(written)
    sign, number, unit = match.groups() if match else ("", "0", "")
    if match and unit == "%":
        return Budget(key, stat, _share(text, key, sign, number), True, text)
    if sign or not float(number):
        raise ValueError(f"{text!r}: {written!r} is no limit, which looks like {_examples(key)}")
    own = METRICS[key].unit
    units = _UNITS.get(own, _NO_UNIT)
    if unit not in units:
        takes = _TAKES.get(own, f"{key} is in {own} and takes no unit")
        raise ValueError(f"{text!r}: {takes}, not {unit!r}")
    return Budget(key, stat, float(number) * units[unit], False, text)


def _share(text: str, key: str, sign: str, number: str) -> float:
    """A relative limit as a share of the baseline, with its sign."""
    better = METRICS[key].better
    right = "+" if better == "lower" else "-"
    if sign != right:
        raise ValueError(
            f"{text!r}: {better} is better for {key}, so a relative limit is {right}{number}%"
        )
    share = float(sign + number) / 100
    if share <= -1:
        raise ValueError(f"{text!r}: nothing can fall by 100 % or more")
    return share


def _examples(key: str) -> str:
    definition = METRICS[key]
    absolute = {"s": "200ms", "MiB": "4GiB"}.get(definition.unit, "30")
    return f"{absolute} or {'+' if definition.better == 'lower' else '-'}5%"


def _has_one_sample(key: str) -> bool:
    return key in _ONE_SAMPLE or METRICS[key].unit == "MiB"


def expected_samples(key: str, workload: Workload, has_objectives: bool) -> int | None:
    """How many samples of a metric a workload gives; None where that shows only afterwards.

    0: the measurement will not have the metric. For ``icl`` it is the most there can be, because how
    many tokens a chunk holds is the engine's matter.

    Args:
        has_objectives: whether the test sets ``slo=``, without which there is no goodput.
    """
    if _has_one_sample(key):
        return 1
    rest = workload.output_len - 1
    absent = (key in ("tpot", *POOLED, "decode_throughput") and not rest) or (
        key == "goodput" and not has_objectives
    )
    if absent:
        return 0
    if key in _PER_REQUEST:
        return workload.rounds * workload.batch_size * (rest if key in POOLED else 1)
    return workload.rounds if METRICS[key].unit.endswith("/s") else None


class BudgetChecker:
    """The budgets of a run, and the tests that their baseline does not have."""

    def __init__(self, budgets: Sequence[Budget], baseline: Baseline) -> None:
        self._budgets = budgets
        self._baseline = baseline
        self._without_baseline: dict[str, list[str]] = {}

    def before(self, workload: Workload, has_objectives: bool) -> list[str]:
        """A line for each budget that the workload has too few samples for."""
        lines = []
        for budget in self._budgets:
            n = expected_samples(budget.metric, workload, has_objectives)
            if n:
                lines += _too_few(budget, n, workload.rounds, "would have")
        return lines

    def after(self, record: Record) -> list[str]:
        """Return a line for each budget that a measurement breaks."""
        lines = []
        for budget in self._budgets:
            metric = record["metrics"].get(budget.metric)
            if metric is None:
                continue
            # What was expected may not have come: chunks hold more than one token.
            too_few = _too_few(budget, metric["n"], record["workload"].get("rounds", 1), "has")
            lines += too_few or self._judge(budget, statistic(metric, budget.stat), record)
        return lines

    def _judge(self, budget: Budget, value: float, record: Record) -> list[str]:
        start = None
        limit = budget.limit
        if budget.relative:
            start = self._baseline(record, budget.metric, budget.stat)
            if start is None:
                self._without_baseline.setdefault(record["nodeid"], []).append(budget.name)
                return []
            limit = start * (1 + budget.limit)
        return [_over(budget, value, limit, start)] if budget.breaks(value, limit) else []

    def summary(self) -> list[str]:
        """A line for each test that passed its relative budgets for want of a baseline."""
        lines = [
            f"baseline has no {nodeid} ({', '.join(names)}; same work, same hardware)"
            for nodeid, names in self._without_baseline.items()
        ]
        more = len(lines) - SHOWN
        return [*lines[:SHOWN], *([f"baseline has no {more} more"] if more > 0 else [])]


def _too_few(budget: Budget, n: int, rounds: int, verb: str) -> list[str]:
    if n >= budget.needed:
        return []
    enough = math.ceil(budget.needed * rounds / n)
    return [
        f"too few samples: {budget.name} {verb} {n} and needs {budget.needed}, "
        f"which --llm-rounds={enough} gives ({OPTION})"
    ]


def _over(budget: Budget, value: float, limit: float, start: float | None) -> str:
    """The line of a broken budget.

    Args:
        start: the baseline's value, of a relative budget.
    """
    scale, unit = _display(METRICS[budget.metric].unit, limit)

    def rounded(number: float, digits: int) -> float:
        return float(f"{number / scale:.{digits}g}")

    # As few digits as still show which side of the limit the value is on.
    digits = next(
        (d for d in range(3, 15) if budget.breaks(rounded(value, d), rounded(limit, d))), 15
    )
    least = "" if METRICS[budget.metric].better == "lower" else "at least "
    # A limit that somebody wrote is shown as it is, not rounded.
    shown = rounded(limit, 12 if start is None else digits)
    line = (
        f"over budget: {budget.name} is {rounded(value, digits):,.15g} {unit}, "
        f"the limit is {least}{shown:,.15g} {unit}"
    )
    if start is not None:
        share = f"{budget.limit * 100:+g} %"
        line += f", the baseline's {rounded(start, digits):,.15g} {unit} {share}"
    return f"{line} ({OPTION})"


def _display(unit: str, limit: float) -> tuple[float, str]:
    """The unit that a person would write a limit in, and its size."""
    if unit != "s":
        return 1.0, unit
    return next(((u, n) for u, n in ((1.0, "s"), (1e-3, "ms")) if limit >= u), (1e-6, "us"))
