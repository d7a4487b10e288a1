"""The table after a run, and its legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.printable import printable
from ..metrics.definitions import METRICS, MetricDefinition, keys_per, table_columns
from ..metrics.roofline import Roof
from ..metrics.samples import Metric, known
from ..store.schema import Record


@dataclass(frozen=True)
class Row:
    """A measurement as a row of the table."""

    test: str
    """Node id without its parameters; the rows of a test form a section."""
    cell: str
    """The test's parameters, the cell first."""
    metrics: Mapping[str, Metric]
    invalid_text: bool = False
    """Random weights: the generated text has no meaning."""
    roof: Roof | None = None
    """The ceilings that ``mbu`` and ``mfu`` are shares of."""


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Return a row for each record; a metric without stored samples is left out."""
    return [_row(record) for record in records]


def _row(record: Record) -> Row:
    test, _, parameters = record["nodeid"].partition("[")
    samples = {key: part["samples"] for key, part in record["metrics"].items() if key in METRICS}
    ceilings = record["environment"].get("ceilings")
    return Row(
        test=test,
        cell=parameters.removesuffix("]"),
        metrics=known(samples),
        invalid_text=record["model"]["load_format"] == "dummy",
        roof=Roof(**ceilings) if ceilings else None,
    )


_FOOTNOTE = "p50 ± spread (half the interquartile range); ratio: tokens/s against the first row"
_RATIO = "output_throughput"
_SHARES = ("mbu", "mfu")
_PRICE = "cost_per_million_tokens"
_NOTED_WITH_OTHERS = ("peak_memory", *_SHARES, _PRICE)
"""Metrics whose legend shares a line with the footnote, the ceilings or the price."""


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table: p50 with its spread, tokens/s against the first row.

    Spread is half the interquartile range over the median. Each test has a section with one row per
    cell. A section has only columns with values; load time, which every test of an engine repeats, has
    a column only in sections that measured nothing else.
    """
    from tabulate import tabulate

    lines: list[str] = []
    for test in dict.fromkeys(row.test for row in rows):
        section = [row for row in rows if row.test == test]
        keys = {key for row in section for key in row.metrics}
        only_load = keys <= set(keys_per("process"))
        columns = [
            column
            for column in table_columns()
            if column.key in keys and (column.per != "process" or only_load)
        ]
        body = [
            [
                printable(row.cell),
                *(_value(row, column) for column in columns),
                _ratio(row, section[0]),
            ]
            for row in section
        ]
        headers = ["", *(column.title for column in columns), "ratio"]
        if all(not row[-1] for row in body):
            body, headers = [row[:-1] for row in body], headers[:-1]
        align = ["left", *["right"] * (len(headers) - 1)]
        # The headers are formatted as a row: as headers they would get extra space on both sides.
        titles, *cells = tabulate(
            [headers, *body], tablefmt="plain", colalign=align, disable_numparse=True
        ).splitlines()
        widths = [max(len(row[i]) for row in [headers, *body]) for i in range(len(headers))]
        lines += [printable(test), titles, "  ".join("-" * width for width in widths), *cells, ""]
    return lines[:-1]


def legend(rows: Sequence[Row], hourly_cost: float | None = None) -> list[str]:
    """Return the lines that explain the table's numbers.

    Args:
        hourly_cost: price of the machine per hour, if it was given.
    """
    keys = {key for row in rows for key in row.metrics}
    lines = [f"{_FOOTNOTE}; {_note('peak_memory')}"] if "ttft" in keys else []
    lines += [
        _note(column.key)
        for column in table_columns()
        if column.key in keys and column.note and column.key not in _NOTED_WITH_OTHERS
    ]
    if hourly_cost is not None and _PRICE in keys:
        lines.append(f"{_note(_PRICE)} at {hourly_cost:g} per hour")
    if roofs := [row.roof for row in rows if row.roof is not None]:
        lines.append(_ceilings(roofs))
    if any(row.invalid_text for row in rows):
        lines.append(
            "random weights (--llm-load-format=dummy): speed and memory are real, text is not"
        )
    return lines


def _note(key: str) -> str:
    """Return the legend of a metric."""
    return f"{METRICS[key].title}: {METRICS[key].note}"


def _ceilings(roofs: Sequence[Roof]) -> str:
    """Return the legend of mbu and mfu, with the ceilings of all rows."""
    reads = [r.read_bytes_per_s / 1e9 for r in roofs if r.read_bytes_per_s]
    rates: dict[str, list[float]] = {}
    for roof in roofs:
        if roof.matmul_flops and roof.dtype:
            rates.setdefault(roof.dtype, []).append(roof.matmul_flops / 1e12)
    measured = [f"{_range(reads)} GB/s"] if reads else []
    measured += [f"{_range(values)} TFLOP/s {dtype}" for dtype, values in rates.items()]
    notes = "; ".join(_note(key) for key in _SHARES)
    return f"{notes}; of what this machine was measured to do: {', '.join(measured)}"


def _range(values: Sequence[float]) -> str:
    """Return the range of values in three digits: one number if they are equal."""
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _value(row: Row, column: MetricDefinition) -> str:
    metric = row.metrics.get(column.key)
    if metric is None:
        return "-"
    text = column.shown(metric.p50)
    if metric.n > 1 and column.spread:
        text += f" ±{metric.spread * 100:>2.0f}%"
    part = row.metrics.get(column.includes)
    if part is not None and part.p50:
        text += f" ({column.shown(part.p50)})"
    return text


def _ratio(row: Row, first: Row) -> str:
    rate, reference = row.metrics.get(_RATIO), first.metrics.get(_RATIO)
    if rate is None or reference is None:
        return ""
    return f"{rate.p50 / reference.p50:.2f}x"
