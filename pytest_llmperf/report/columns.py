"""Columns of metrics that fit the width of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..metrics.definitions import MetricDefinition
from ..metrics.samples import Metric

_FIRST_TO_GO = ("mbu", "mfu")
_LAST_TO_STAY = (
    "prefill_throughput",
    "output_throughput",
    "perplexity",
    "load_time",
    "tpot",
    "output_throughput_per_request",
    "ttft",
)
"""The last of them goes first."""

IMPRECISE = "~"
"""Stands before a median that is not known as precisely as was asked."""

NamedMetrics = tuple[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class Fitted:
    """A section of a table."""

    heading: str
    """Part of all rows' names, which stands in the heading; empty: nothing."""
    lines: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """The parts of a section that are shown."""

    columns: tuple[MetricDefinition, ...]
    spread: bool = True
    """A median has the reach of its interval beside it."""
    parts: bool = True
    """A part of a metric stands in parentheses beside it."""
    heading: str = ""


def fitted(
    rows: Sequence[NamedMetrics],
    columns: Sequence[MetricDefinition],
    ratios: Sequence[str],
    common: str,
    width: int | None,
) -> Fitted:
    """Return a section that fits, with the least left out.

    Utilization goes first, then the intervals, a model that all rows have (into the heading), the parts
    of a metric, and columns from the right; those that answer what the test asks go last, but for one.

    Args:
        ratios: the last column; empty texts: none.
        common: the first part of all rows' names.
        width: columns of the terminal; None: no limit.
    """
    full = _Layout(tuple(columns))
    for layout in _narrower(full, common):
        lines = _lines(rows, layout, ratios)
        if width is None or max(map(len, lines)) <= width:
            break
    return Fitted(layout.heading, tuple(lines), _left_out(full, layout, rows))


def _narrower(layout: _Layout, common: str) -> list[_Layout]:
    """Return ever narrower layouts."""
    layouts = [layout]
    without = tuple(c for c in layout.columns if c.key not in _FIRST_TO_GO)
    layouts.append(replace(layouts[-1], columns=without))
    layouts.append(replace(layouts[-1], spread=False))
    if common:
        layouts.append(replace(layouts[-1], heading=common))
    layouts.append(replace(layouts[-1], parts=False))
    kept = list(without)
    answers = [column for column in without if column.key in _LAST_TO_STAY]
    answers.sort(key=lambda column: _LAST_TO_STAY.index(column.key))
    for column in [*[c for c in reversed(without) if c not in answers], *reversed(answers[1:])]:
        kept.remove(column)
        layouts.append(replace(layouts[-1], columns=tuple(kept)))
    return layouts


def _left_out(full: _Layout, layout: _Layout, rows: Sequence[NamedMetrics]) -> tuple[str, ...]:
    names = [c.title for c in full.columns if c not in layout.columns]
    spreads = any(
        column.spread and column.key in metrics and metrics[column.key].half_interval is not None
        for _, metrics in rows
        for column in layout.columns
    )
    names += ["±"] if spreads and not layout.spread else []
    pools = any(_part(metrics, column) for _, metrics in rows for column in layout.columns)
    names += ["(key-value pool)"] if pools and not layout.parts else []
    return tuple(names)


def _lines(rows: Sequence[NamedMetrics], layout: _Layout, ratios: Sequence[str]) -> list[str]:
    """Return titles, a rule and a line for each row."""
    from tabulate import tabulate

    body = [
        [
            name.removeprefix(f"{layout.heading}-" if layout.heading else ""),
            *(_value(metrics, column, layout) for column in layout.columns),
            ratio,
        ]
        for (name, metrics), ratio in zip(rows, ratios, strict=True)
    ]
    headers = ["", *(column.title for column in layout.columns), "ratio"]
    if not any(ratios):
        body, headers = [row[:-1] for row in body], headers[:-1]
    align = ["left", *["right"] * (len(headers) - 1)]
    # The headers are formatted as a row: as headers they would get extra space on both sides.
    titles, *cells = tabulate(
        [headers, *body], tablefmt="plain", colalign=align, disable_numparse=True
    ).splitlines()
    widths = [max(len(row[i]) for row in [headers, *body]) for i in range(len(headers))]
    return [titles, "  ".join("-" * width for width in widths), *cells]


def _value(metrics: Mapping[str, Metric], column: MetricDefinition, layout: _Layout) -> str:
    metric = metrics.get(column.key)
    if metric is None:
        return "-"
    text = column.shown(metric.p50)
    if metric.imprecise:
        text = f"{IMPRECISE}{text}"
    half = metric.half_interval if column.spread and layout.spread else None
    if half is not None:
        text += f" ±{_percent(half)}"
    part = _part(metrics, column)
    if part and layout.parts:
        text += f" ({column.shown(part)})"
    return text


def _percent(share: float) -> str:
    """Return a share in two digits or so: 0.3%, 12%; what is as large as the value itself is unknown."""
    if share >= 1:
        return ">100%"
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"


def _part(metrics: Mapping[str, Metric], column: MetricDefinition) -> float:
    """Return the part of a metric that another one is; 0 without one."""
    part = metrics.get(column.includes)
    return part.p50 if part is not None else 0.0
