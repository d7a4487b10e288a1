"""Header line, progress line, and the table after the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..metrics.definitions import METRICS
from ..metrics.roofline import Roof
from ..metrics.samples import Metric, known
from ..store.schema import Record


@dataclass(frozen=True)
class Row:
    """One measurement for the table."""

    test: str
    """Node id without its parameters: rows of one test stand together."""
    cell: str
    """The test's parameters, the cell first."""
    metrics: Mapping[str, Metric]
    invalid_text: bool = False
    """Random weights: the text means nothing."""
    roof: Roof | None = None
    """What ``mbu`` and ``mfu`` are shares of."""


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Return a row for each record; of metrics without stored samples there is nothing to show."""
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


@dataclass(frozen=True)
class _Column:
    key: str
    title: str
    scale: float
    digits: int
    spread: bool = True


_COLUMNS = (
    _Column("ttft", "ttft ms", 1e3, 1),
    _Column("tpot", "tpot ms", 1e3, 2),
    _Column("e2e", "e2e s", 1, 3),
    _Column("output_throughput", "tokens/s", 1, 1),
    _Column("mbu", "mbu", 1e2, 0, spread=False),
    _Column("mfu", "mfu", 1e2, 0, spread=False),
    _Column("peak_memory", "peak MiB", 1, 0),
    _Column("energy_per_output_token", "J/token", 1, 3),
    _Column("cost_per_million_tokens", "cost/1M", 1, 3),
    _Column("load_time", "load s", 1, 1),
    _Column("perplexity", "perplexity", 1, 2),
    _Column("kl_divergence", "KL nats", 1, 4),
    _Column("top1_agreement", "agree %", 100, 1),
)


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of the table: a row a cell, p50 with its spread, tokens/s against the first row.

    Spread is half the interquartile range over the median. A section a test; columns without a value
    in a section are left out.
    """
    from tabulate import tabulate

    lines: list[str] = []
    for test in dict.fromkeys(row.test for row in rows):
        section = [row for row in rows if row.test == test]
        only_load = all(set(row.metrics) <= _NO_ROUNDS for row in section)
        columns = [
            column
            for column in _COLUMNS
            if any(column.key in row.metrics for row in section)
            and (column.key != "load_time" or only_load)
        ]
        body = [
            [row.cell, *(_value(row, column) for column in columns), _ratio(row, section[0])]
            for row in section
        ]
        headers = ["", *(column.title for column in columns), "ratio"]
        if all(not row[-1] for row in body):
            body, headers = [row[:-1] for row in body], headers[:-1]
        align = ["left", *["right"] * (len(headers) - 1)]
        # The headers as a row: as headers they would have room to spare on both sides.
        titles, *cells = tabulate(
            [headers, *body], tablefmt="plain", colalign=align, disable_numparse=True
        ).splitlines()
        widths = [max(len(row[i]) for row in [headers, *body]) for i in range(len(headers))]
        lines += [test, titles, "  ".join("-" * width for width in widths), *cells, ""]
    return lines[:-1]


_NO_ROUNDS = {"load_time", "model_memory", "kv_cache_memory"}
_FOOTNOTE = (
    "p50 +- spread (half the interquartile range); ratio: tokens/s against the first row; "
    "peak MiB: resident set on a CPU, allocator's peak on a GPU, (reserved key-value pool)"
)


def legend(rows: Sequence[Row], hourly_cost: float | None = None) -> list[str]:
    """What the table's numbers are.

    Args:
        hourly_cost: of the machine, where it was given.
    """
    lines = [_FOOTNOTE] if any("ttft" in row.metrics for row in rows) else []
    if any("energy_per_output_token" in row.metrics for row in rows):
        lines.append(
            "J/token: energy of the engine's GPUs or CPU packages, idle power included, / output tokens"
        )
    if hourly_cost is not None and any("cost_per_million_tokens" in r.metrics for r in rows):
        lines.append(f"cost/1M: a million output tokens at {hourly_cost:g} per hour")
    if roofs := [row.roof for row in rows if row.roof is not None]:
        lines.append(_ceilings(roofs))
    if any(row.invalid_text for row in rows):
        lines.append(
            "random weights (--llm-load-format=dummy): speed and memory are real, text is not"
        )
    return lines


def _ceilings(roofs: Sequence[Roof]) -> str:
    """What mbu and mfu are, with the ceilings of all rows."""
    reads = [r.read_bytes_per_s / 1e9 for r in roofs if r.read_bytes_per_s]
    rates: dict[str, list[float]] = {}
    for roof in roofs:
        if roof.matmul_flops and roof.dtype:
            rates.setdefault(roof.dtype, []).append(roof.matmul_flops / 1e12)
    measured = [f"{_range(reads)} GB/s"] if reads else []
    measured += [f"{_range(found)} TFLOP/s {dtype}" for dtype, found in rates.items()]
    return (
        "mbu: % of the memory bandwidth that decoding used; mfu: % of the arithmetic rate that prefill "
        f"used; of what this machine was measured to do: {', '.join(measured)}"
    )


def _range(values: Sequence[float]) -> str:
    """Three digits; two numbers where engines have ceilings of their own."""
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _value(row: Row, column: _Column) -> str:
    metric = row.metrics.get(column.key)
    if metric is None:
        return "-"
    text = f"{metric.p50 * column.scale:,.{column.digits}f}"
    if metric.n > 1 and column.spread:
        text += f" ±{metric.spread * 100:>2.0f}%"
    pool = row.metrics.get("kv_cache_memory")
    if column.key == "peak_memory" and pool is not None and pool.p50:
        text += f" ({pool.p50:,.0f})"
    return text


def _ratio(row: Row, first: Row) -> str:
    own, reference = row.metrics.get("output_throughput"), first.metrics.get("output_throughput")
    if own is None or reference is None:
        return ""
    return f"{own.p50 / reference.p50:.2f}x"
