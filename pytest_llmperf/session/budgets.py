"""Budgets (``--llm-fail-if``): limits that a measurement must keep.

A percentile is judged only if there are enough samples for it. Rounds that go on by need go on for
those, too, within their time. With a fixed number of rounds, a test that will have too few samples
fails before it costs anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.values import one_of, shown
from ..core.workload import Workload
from ..metrics.definitions import METRICS
from ..metrics.samples import PERCENTILES, needed_samples
from ..store.schema import Record, statistic

OPTION = "--llm-fail-if"
STATS = ("mean", "min", "max", *(f"p{q}" for q in PERCENTILES))
SHOWN = 5
"""Tests without a baseline that the summary names; it counts the others."""
_LIMIT = re.compile(r"\s*([+-]?)(\d+\.?\d*|\.\d+)\s*(%|[^\W\d]*)\s*")

Baseline = Callable[[Record, str, str], float | None]
"""``baseline(record, metric, stat)``: the value that a relative budget starts from.

It is in the metric's unit; None if there is nothing to compare with. The record is that of the
measurement: it names the test, the work and the hardware.
"""


@dataclass(frozen=True)
class _Unit:
    """The notation of limits for metrics of one unit."""

    sizes: Mapping[str, float]
    """Size in the unit by suffix of the number."""
    takes: str
    """The suffixes in words, for the message about another one."""
    example: str


_UNITS: Mapping[str, _Unit] = {
    "s": _Unit(
        sizes={"s": 1.0, "ms": 1e-3, "us": 1e-6},
        takes="a time takes s, ms or us",
        example="200ms",
    ),
    "MiB": _Unit(
        sizes={"": 1.0, "MiB": 1.0, "GiB": 1024.0},
        takes="a memory takes MiB or GiB (bare: MiB)",
        example="4GiB",
    ),
}


@dataclass(frozen=True)
class Budget:
    """A limit on a statistic of a metric."""

    metric: str
    stat: str
    limit: float
    """In the metric's unit; a relative one is a share of the baseline, so 0.05 is ``+5%``."""
    relative: bool
    text: str
    """The budget as the user wrote it."""

    @property
    def name(self) -> str:
        return f"{self.metric}.{self.stat}"

    @property
    def needed(self) -> int:
        """Samples that the statistic needs."""
        return needed_samples(self.stat)

    def breaks(self, value: float, limit: float) -> bool:
        """Return whether a value is on the wrong side: above for a time or memory, below for a rate."""
        return value > limit if METRICS[self.metric].better == "lower" else value < limit


def parse_budget(text: str) -> Budget:
    """Parse ``ttft.p95:200ms``, ``output_throughput.mean:30`` or ``tpot.p50:+5%``.

    Raises:
        ValueError: one line that says what is wrong and what to write instead.
    """
    target, colon, written = text.partition(":")
    key, dot, stat = target.strip().partition(".")
    if not colon or not dot:
        raise ValueError(f"{shown(text)} is not of the form METRIC.STAT:LIMIT, e.g. ttft.p95:200ms")
    one_of("metric", tuple(METRICS))(key)
    one_of("statistic", STATS)(stat)
    if needed_samples(stat) > 1 and _has_one_sample(key):
        raise ValueError(
            f"{shown(text)}: {key} has one sample per measurement, too few for {stat}; "
            f"give {key}.max:{written.strip()[:20]}"
        )
    match = _LIMIT.fullmatch(written)
    if match and not math.isfinite(float(match[2])):
        raise ValueError(f"{shown(text)}: the number is too large; write {_examples(key)}")
    sign, number, unit = match.groups() if match else ("", "0", "")
    if match and unit == "%":
        return Budget(key, stat, _share(text, key, sign, number), True, text)
    if sign or not 0 < float(number) < math.inf:
        raise ValueError(f"{shown(text)}: {shown(written)} is not a limit; write {_examples(key)}")
    known = _unit(key)
    if unit not in known.sizes and not unit:
        written = f"{target.strip()}:{number}"
        raise ValueError(f"{shown(text)}: {known.takes}; write {written}ms or {written}s")
    if unit not in known.sizes:
        raise ValueError(f"{shown(text)}: {known.takes}, not {shown(unit)}")
    return Budget(key, stat, float(number) * known.sizes[unit], False, text)


def _unit(key: str) -> _Unit:
    """Return the notation of a metric's limits; most units have no suffix."""
    unit = METRICS[key].unit
    takes = f"{key} is in {unit} and takes no unit" if unit else f"{key} takes no unit"
    return _UNITS.get(unit, _Unit({"": 1.0}, takes, "30"))


def _share(text: str, key: str, sign: str, number: str) -> float:
    """Return a relative limit as a share of the baseline, with its sign."""
    better = METRICS[key].better
    right = "+" if better == "lower" else "-"
    if sign != right:
        raise ValueError(
            f"{shown(text)}: {better} is better for {key}, so a relative limit is {right}{number[:20]}%"
        )
    share = float(sign + number) / 100
    if not math.isfinite(share):
        raise ValueError(f"{shown(text)}: {shown(number)} is too large for a number")
    if share <= -1:
        raise ValueError(f"{shown(text)}: nothing can fall by 100 % or more")
    return share


def _examples(key: str) -> str:
    return f"{_unit(key).example} or {'+' if METRICS[key].better == 'lower' else '-'}5%"


def _has_one_sample(key: str) -> bool:
    return METRICS[key].per in ("measurement", "process")


def expected_samples(key: str, workload: Workload, has_objectives: bool) -> int | None:
    """Return the number of a metric's samples that a workload gives; None if known only afterwards.

    0: the measurement will not have the metric. For ``icl`` it is the largest number possible,
    because the engine decides how many tokens a chunk holds.

    Args:
        has_objectives: whether the test sets ``slo=``, which goodput needs.
    """
    if _has_one_sample(key):
        return 1
    per, needs = METRICS[key].per, METRICS[key].needs
    rests = [length - 1 for length in workload.output_lengths]
    rest = sum(rests)
    if (needs == "second token" and not rest) or (needs == "objectives" and not has_objectives):
        return 0
    if needs not in (None, "second token", "objectives"):
        return None
    requests = sum(1 for rest in rests if rest) if needs == "second token" else len(rests)
    n = {"round": 1, "request": requests, "gap": rest}[per]
    return workload.rounds * n


class BudgetChecker:
    """The budgets of a run, and the tests that have no baseline."""

    def __init__(self, budgets: Sequence[Budget], baseline: Baseline) -> None:
        self._budgets = budgets
        self._baseline = baseline
        self._without_baseline: dict[str, list[str]] = {}
        self._tried: set[Budget] = set()

    def before(self, workload: Workload, has_objectives: bool) -> list[str]:
        """Return a line for each budget that a fixed number of rounds gives too few samples for."""
        if workload.need:
            return []
        lines = []
        for budget in self._budgets:
            n = expected_samples(budget.metric, workload, has_objectives)
            if n:
                lines += _too_few(budget, n, workload.rounds, "would have")
        return lines

    def needed_rounds(self, workload: Workload, has_objectives: bool) -> int:
        """Return the rounds that give every budget its samples."""
        one_round = replace(workload, rounds=1)
        needed = [0]
        for budget in self._budgets:
            n = expected_samples(budget.metric, one_round, has_objectives)
            # Known afterwards: at least one per round, if any.
            n = 1 if n is None else n
            needed += [math.ceil(budget.needed / n)] if n else []
        return max(needed)

    def after(self, record: Record) -> list[str]:
        """Return a line for each budget that a measurement breaks."""
        lines = []
        for budget in self._budgets:
            metric = record["metrics"].get(budget.metric)
            if metric is None:
                continue
            self._tried.add(budget)
            # There may be fewer than expected: a chunk may hold more than one token.
            work = record["workload"]
            limit = work.get("max_time")
            too_few = _too_few(budget, metric["n"], work.get("rounds", 1), "has", limit)
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

    def unused(self) -> list[str]:
        """Return a line for each budget whose metric no test of the run has."""
        return [
            f"{OPTION}: {budget.text!r} applied to no test: none has {budget.metric}"
            for budget in self._budgets
            if budget not in self._tried
        ]

    def summary(self) -> list[str]:
        """Return a line for each test that passed relative budgets only because it has no baseline."""
        lines = [
            f"no baseline for {nodeid} ({', '.join(names)}; same work, same hardware)"
            for nodeid, names in self._without_baseline.items()
        ]
        more = len(lines) - SHOWN
        return [*lines[:SHOWN], *([f"no baseline for {more} more"] if more > 0 else [])]


def _too_few(
    budget: Budget, n: int, rounds: int, verb: str, max_time: float | None = None
) -> list[str]:
    """Return a line if samples are too few.

    Args:
        max_time: seconds that ended the rounds; None if their number was fixed.
    """
    if n >= budget.needed:
        return []
    enough = math.ceil(budget.needed * rounds / n)
    ended = f" within --llm-max-time={max_time:g}" if max_time else ""
    return [
        f"too few samples: {budget.name} {verb} {n}{ended} and needs {budget.needed}, "
        f"which --llm-rounds={enough} gives ({OPTION})"
    ]


def _over(budget: Budget, value: float, limit: float, start: float | None) -> str:
    """Return the line of a broken budget.

    Args:
        start: the baseline's value, of a relative budget.
    """
    scale, unit = _display(METRICS[budget.metric].unit, limit)

    def rounded(number: float, digits: int) -> float:
        return float(f"{number / scale:.{digits}g}")

    # The fewest digits that show on which side of the limit the value is.
    digits = next(
        (d for d in range(3, 15) if budget.breaks(rounded(value, d), rounded(limit, d))), 15
    )
    least = "" if METRICS[budget.metric].better == "lower" else "at least "
    # A limit from the command line is shown as it was written, not rounded.
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
    """Return the size and the name of the unit that suits a limit."""
    if unit != "s":
        return 1.0, unit
    return next(((u, n) for u, n in ((1.0, "s"), (1e-3, "ms")) if limit >= u), (1e-6, "us"))
