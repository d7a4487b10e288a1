"""The table after a run, and its legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..analysis.marks import Marks, mark_lines, marks_of, sign
from ..analysis.remarks import remark_of, with_remark
from ..core.printable import printable
from ..metrics.ceilings import Roof
from ..metrics.definitions import METRICS, keys_per, table_columns
from ..metrics.samples import Metric, known, of_these_rounds
from ..store.schema import Record
from ..store.stored import cell_name
from .columns import IMPRECISE, fitted
from .line import wrapped
from .subject import Subject, Work, columns_of, subject_of, work_of


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
    model: str = ""
    """The first part of the cell; empty if unknown."""
    engine: str = ""
    """The cell only."""
    parameters: str = ""
    """The test's parameters but the cell."""
    work: Work | None = None
    """The work of a round; None where nothing was generated."""
    marks: Marks = ()
    """The disturbances of the measurement."""


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Return a row for each record; a metric without stored samples is left out."""
    return [_row(*pair) for pair in zip(records, marks_of(records), strict=True)]


def _row(record: Record, marks: Marks) -> Row:
    test, label, parameters = names_of(record)
    samples = {key: part["samples"] for key, part in record["metrics"].items() if key in METRICS}
    ceilings = record["environment"].get("ceilings")
    work = record["workload"]
    return Row(
        test=test,
        cell=with_remark(label, remark_of(record)),
        metrics=of_these_rounds(known(samples), work.get("rounds", 0), work.get("precision")),
        invalid_text=record["model"]["load_format"] == "dummy",
        roof=Roof.from_record(ceilings) if ceilings else None,
        model=record["model"]["name"],
        engine=cell_name(record).id,
        parameters=parameters,
        work=work_of(record["workload"]),
        marks=marks,
    )


def names_of(record: Record) -> tuple[str, str, str]:
    """Return a record's test, its row's name (the cell, and named parameters), and its parameters."""
    test, _, rest = record["nodeid"].partition("[")
    in_id = rest.removesuffix("]")
    cell = cell_name(record).id
    if cell not in in_id:
        return test, in_id, ""
    parameters = in_id.replace(cell, "", 1).strip("-")
    named = record.get("parameters")
    if named is None:
        return test, in_id, parameters
    return test, " ".join([cell, *(f"{name}={value}" for name, value in named.items())]), parameters


_FOOTNOTE = "p50 ± reach of its 95 % interval"
_SHARES = ("mbu", "mfu")
_PRICE = "cost_per_million_tokens"
_NOTED_WITH_OTHERS = ("peak_memory", *_SHARES, _PRICE)
"""Metrics whose legend shares a line with the footnote, the ceilings or the price."""


def table(rows: Sequence[Row], width: int | None = None) -> list[str]:
    """Return the lines of the table: p50 with its interval, and speed against the first engine.

    A median that missed the precision that was asked for is marked. Each test has a section with one
    row per cell. A section has the columns of its subject that have values; load time, which every
    test of an engine repeats, has a column only in sections that measured nothing else. Rows that were
    disturbed are marked, with the reason below their section.

    Args:
        width: columns of the terminal; what does not fit is left out, and said so. None: no limit.
    """
    lines: list[str] = []
    left_out: list[str] = []
    for test, section in _sections(rows).items():
        subject = subject_of([row.work for row in section])
        keys = {key for row in section for key in row.metrics}
        only_load = keys <= set(keys_per("process"))
        columns = [
            column
            for column in columns_of(subject)
            if column.key in keys and (column.per != "process" or only_load)
        ]
        fit = fitted(
            [(f"{printable(row.cell)}{sign(row.marks)}", row.metrics) for row in section],
            columns,
            [_ratio(row, section, subject) for row in section],
            _common_model(section),
            width,
        )
        title = f"{printable(test)}{f' ({printable(fit.heading)})' if fit.heading else ''}"
        lines += [title, *fit.lines]
        for words in mark_lines((row.cell, row.marks) for row in section):
            lines += wrapped(printable(words), width)
        lines.append("")
        left_out += [name for name in fit.left_out if name not in left_out]
    if left_out:
        lines += wrapped(f"left out in {width} columns: {', '.join(left_out)}", width)
        return lines
    return lines[:-1]


def legend(
    rows: Sequence[Row], hourly_cost: float | None = None, width: int | None = None
) -> list[str]:
    """Return the lines that explain the table's numbers.

    Args:
        hourly_cost: price of the machine per hour, if it was given.
        width: columns of the terminal; longer lines are broken between words. None: no limit.
    """
    keys = _shown_keys(rows)
    footnote = "; ".join(filter(None, [_FOOTNOTE, _ratio_note(rows)]))
    lines = [f"{footnote}; {_note('peak_memory')}"] if keys & {"ttft", "tpot"} else []
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
    if any(metric.imprecise for row in rows for metric in row.metrics.values()):
        lines.append(_imprecise(rows))
    if any(row.marks for row in rows):
        lines.append("!: disturbed, so there is no ratio to or from what it made doubtful")
    return [part for line in lines for part in wrapped(line, width)]


def _imprecise(rows: Sequence[Row]) -> str:
    """Return the legend of the sign at medians that are not known as precisely as was asked."""
    asked = {m.precision for row in rows for m in row.metrics.values() if m.precision is not None}
    shares = " or ".join(f"{100 * share:.3g} %" for share in sorted(asked))
    return (
        f"{IMPRECISE}: not known to {shares} (--llm-precision) when its time was spent "
        "(--llm-max-time); without ±: fewer than 6 rounds"
    )


def _common_model(section: Sequence[Row]) -> str:
    """Return the model if it is the first part of every row's name."""
    (model, *others) = dict.fromkeys(row.model for row in section)
    is_first = all(row.cell.startswith(f"{model}-") for row in section)
    return model if model and not others and is_first else ""


def _note(key: str) -> str:
    """Return the legend of a metric."""
    return f"{METRICS[key].title}: {METRICS[key].note}"


def _ceilings(roofs: Sequence[Roof]) -> str:
    """Return the legend of mbu and mfu, with the ceilings of all rows."""
    reads = [(r.read_bytes_per_s / 1e9, r.read_by) for r in roofs if r.read_bytes_per_s]
    rates: dict[str, list[tuple[float, str]]] = {}
    for roof in roofs:
        if roof.matmul_flops and roof.dtype:
            rates.setdefault(roof.dtype, []).append((roof.matmul_flops / 1e12, roof.matmul_by))
    best = [_ceiling(reads, "GB/s")] if reads else []
    best += [_ceiling(values, f"TFLOP/s {dtype}") for dtype, values in rates.items()]
    notes = "; ".join(_note(key) for key in _SHARES)
    methods = " and ".join(dict.fromkeys(roof.measured_by for roof in roofs))
    return f"{notes}; of the best rates seen on this machine ({methods}): {', '.join(best)}"


def _ceiling(rates: Sequence[tuple[float, str]], unit: str) -> str:
    """Return the range of ceilings with their unit, and whose they are if the method has lower ones."""
    others = " and ".join(dict.fromkeys(by for _, by in rates if by))
    return f"{_range([value for value, _ in rates])} {unit}" + (f" ({others})" if others else "")


def three_digits(value: float) -> str:
    """Return a number in three digits, without a power of ten where it has more."""
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _range(values: Sequence[float]) -> str:
    """Return the range of values in three digits: one number if they are equal."""
    low, high = (three_digits(value) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _sections(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each test."""
    sections: dict[str, list[Row]] = {}
    for row in rows:
        sections.setdefault(row.test, []).append(row)
    return sections


def _shown_keys(rows: Sequence[Row]) -> set[str]:
    """Return the metrics of the rows that have a column."""
    keys: set[str] = set()
    for section in _sections(rows).values():
        shown = {column.key for column in columns_of(subject_of([row.work for row in section]))}
        keys |= shown & {key for row in section for key in row.metrics}
    return keys


def _ratio(row: Row, section: Sequence[Row], subject: Subject) -> str:
    """Return the speed against the first engine's at the same work, empty for one engine only.

    It is a dash if the first engine did not do that work, or if either row was disturbed.
    """
    rate = row.metrics.get(subject.ratio)
    if rate is None or len({other.engine for other in section}) == 1:
        return ""
    first = _reference(row, section)
    reference = None if first is None else first.metrics.get(subject.ratio)
    if first is None or reference is None:
        return "-"
    if row is not first and any(
        mark.spoils({subject.ratio}) for mark in (*row.marks, *first.marks)
    ):
        return "-"
    return f"{subject.times_as_fast(rate, reference):.2f}x"


def _reference(row: Row, section: Sequence[Row]) -> Row | None:
    """Return the first engine's row with the same work: of all models, else of the row's model."""
    for model in (section[0].model, row.model):
        engine = next(other.engine for other in section if other.model == model)
        for other in section:
            if other.engine == engine and _same_work(row, other):
                return other
    return None


def _same_work(row: Row, other: Row) -> bool:
    """Return whether two rows of a test had the same requests.

    Tokenizers of different models make a text longer or shorter, and so another work.
    """
    if row.work is None or other.work is None or row.parameters != other.parameters:
        return row.work is other.work and row.parameters == other.parameters
    if row.model == other.model and row.work.requests:
        return row.work.requests == other.work.requests
    return row.work == other.work


def _ratio_note(rows: Sequence[Row]) -> str:
    """Return what the ratios of all sections are of; empty without any."""
    of: dict[str, str] = {}
    for section in _sections(rows).values():
        subject = subject_of([row.work for row in section])
        if any(_ratio(row, section, subject) for row in section):
            of.setdefault(subject.ratio_words, subject.name)
    if not of:
        return ""
    words = [rate if len(of) == 1 else f"{rate} ({name})" for rate, name in of.items()]
    return f"ratio: {', '.join(words)} against the first engine at the same work"
