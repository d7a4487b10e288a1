"""The words of a verdict, for every report: changes, values, reasons, conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..gate.verdict import INTERVAL, EntryVerdict, Judgement
from ..metrics.definitions import METRICS
from ..store.reached import UNITS

Shown = Callable[[str], str]
"""Makes a text of others fit where it is shown."""

INTERVAL_WORDS = f"{INTERVAL:.0%} interval".replace("%", " %")
HEADERS = (
    "verdict",
    "test",
    "metric",
    "baseline",
    "candidate",
    "change",
    INTERVAL_WORDS,
    "n",
)
"""Of a table with a row for each entry."""
_MOST_LINES = 20
_MOST_WORKLOADS = 3
_OWN_WORDS = frozenset((*METRICS, *(metric.unit for metric in METRICS.values()), *UNITS, ""))


def amount(value: float | None, unit: str) -> str:
    """Return a value with a unit that reads well: seconds below one as milliseconds."""
    if value is None:
        return ""
    if unit == "s":
        return f"{value * 1e3:.4g} ms" if abs(value) < 1 else f"{value:.4g} s"
    if unit == "MiB":
        return f"{value:,.0f} MiB"
    return f"{value:.4g} {unit}".rstrip(" -")


def word(text: str, shown: Shown) -> str:
    """Return a metric or a unit: those of this package need no escape, and a file may hold any text."""
    return text if text in _OWN_WORDS else shown(text)


def row_of(entry: EntryVerdict, shown: Shown) -> list[str]:
    """Return an entry's row of a table with ``HEADERS``."""
    unit = word(entry.unit, shown)
    return [
        entry.verdict.value,
        shown(entry.nodeid),
        word(entry.metric, shown),
        amount(entry.baseline, unit),
        amount(entry.candidate, unit),
        _change(entry),
        _interval(entry),
        str(entry.n or ""),
    ]


def measured_on(judgement: Judgement, shown: Shown) -> list[str]:
    """Return a line that names hardware, engines and workloads; none if they are not known."""
    measured = judgement.measured
    works = measured.get("workloads", [])
    if len(works) > _MOST_WORKLOADS:
        works = [*works[:_MOST_WORKLOADS], f"{len(works) - _MOST_WORKLOADS} more workloads"]
    groups = (measured.get("hardware", []), measured.get("engines", []), works)
    words = "; ".join(shown(" and ".join(group)) for group in groups if group)
    return [f"measured on {words}"] if words else []


def named(entry: EntryVerdict, shown: Shown) -> str:
    """Return a metric with its change."""
    change = _change(entry)
    return word(entry.metric, shown) + (f" {change}" if change else "")


def changes(entries: Sequence[EntryVerdict], shown: Shown) -> str:
    """Return metrics with their changes."""
    return ", ".join(named(entry, shown) for entry in entries)


def values_of(entry: EntryVerdict, shown: Shown, judgement: Judgement | None = None) -> str:
    """Return both values in parentheses.

    Args:
        judgement: adds the interval and the number of observations.
    """
    if entry.baseline is None or entry.candidate is None:
        return ""
    unit = word(entry.unit, shown)
    parts = [f"{amount(entry.baseline, unit)} to {amount(entry.candidate, unit)}"]
    if judgement and (interval := _interval(entry)):
        parts.append(f"{INTERVAL_WORDS} {interval}")
    if judgement and entry.n:
        parts.append(f"{entry.n} {observations(judgement, entry.n)}")
    return f" ({'; '.join(parts)})"


def _change(entry: EntryVerdict) -> str:
    return "" if entry.change is None else f"{entry.change:+.1%}"


def _interval(entry: EntryVerdict) -> str:
    if entry.change_interval is None:
        return ""
    low, high = entry.change_interval
    return f"{low:+.1%} to {high:+.1%}"


def reasons_of(entries: Sequence[EntryVerdict], shown: Shown) -> list[str]:
    """Return a line for each verdict, test and reason, with all metrics that share them."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        groups.setdefault((entry.verdict.value, entry.nodeid, entry.reason), []).append(
            named(entry, shown)
        )
    return [
        f"{verdict}: {shown(nodeid)} ({', '.join(metrics)}): {shown(reason)}"
        for (verdict, nodeid, reason), metrics in groups.items()
    ]


def observations(judgement: Judgement, n: int = 0) -> str:
    """Return what an entry has so many of."""
    plural = "" if n == 1 else "s"
    of_pairs = judgement.mode == "pairs"
    return f"pair{plural} of processes" if of_pairs else f"baseline run{plural}"


def rest_of(judgement: Judgement, prefix: str, shown: Shown) -> list[str]:
    lines = limited(
        [
            f"broken: {shown(nodeid)} fails or is skipped on the candidate only"
            for nodeid in judgement.broken
        ]
    )
    lines += limited([f"failed: {shown(line)}" for line in judgement.failures])
    lines += limited([f"new (no baseline): {shown(nodeid)}" for nodeid in judgement.new])
    lines += limited(
        [f"missing (in the baseline only): {shown(nodeid)}" for nodeid in judgement.gone]
    )
    lines += limited([f"note: {shown(line)}" for line in judgement.notes])
    return [prefix + line for line in lines]


def limited(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"... and {rest} more of these"] if rest > 0 else [])]
