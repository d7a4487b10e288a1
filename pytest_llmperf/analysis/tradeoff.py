"""The trade-off of quantization modes, from stored records: speed, memory, quality, energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.definitions import METRICS, keys_per, tradeoff_columns
from ..store.hardware import hardware, hardware_changes, machine
from ..store.schema import Record
from ..store.stored import CellName, cell_name
from ..store.work import work_words
from .marks import Marks, marks_of
from .remarks import remark_of, with_remark

_UNQUANTIZED = "none"
_SPEED = "output_throughput"
_QUALITY = "perplexity"
_ENERGY = "energy_per_output_token"
_SHORT = 12
"""Characters of a revision that name it."""
_OF_THE_CELL = (
    *keys_per("process"),
    *(
        key
        for key, d in METRICS.items()
        if d.per == "measurement" and d.tradeoff and not d.includes
    ),
)
"""Metrics that any test of a cell may give; the others depend on the work."""


@dataclass(frozen=True)
class Point:
    """The measured values of one cell of a model."""

    model: str
    cell: CellName
    values: Mapping[str, float]
    """p50 by metric key, for the metrics of the trade-off table that were measured.

    Speed and memory are those of the chosen test. ``peak_memory`` is without a reserved key-value
    pool.
    """
    marks: Marks = ()
    """The disturbances of the test that speed and memory come from."""
    remark: str = ""
    """What the cell's id does not say: ``runs bfloat16``."""

    @property
    def title(self) -> str:
        """The name with the remark, for tables and words."""
        return with_remark(self.name, self.remark)

    @property
    def name(self) -> str:
        """The cell's id without the model."""
        return self.cell.variant

    @property
    def backend(self) -> str:
        """The engine with its label."""
        return self.cell.backend

    @property
    def mode(self) -> str:
        return self.cell.mode


@dataclass(frozen=True)
class TradeOff:
    """The modes of one model."""

    model: str
    test: str
    """The test that the speeds come from: the one that most cells ran, its sizes included."""
    points: tuple[Point, ...]
    machine: str = ""
    workload: str = ""
    """The sizes of that test."""

    @property
    def basis(self) -> str:
        """What the words compare with, and where: a mode is faster than something, on a machine."""
        speed = f"; speed with {self.workload}" if self.workload else ""
        return f"each mode against {_UNQUANTIZED} on the same engine, on {self.machine}{speed}"

    def words(self, shown: Callable[[str], str] = str) -> list[str]:
        """Return a line for each cell against what it is compared with.

        A quantized mode is compared with none under the same label and traits. A cell with a label or
        traits is also compared with the plain engine in the same mode, which the line names.

        Args:
            shown: makes a name fit where the line is shown.
        """
        lines = []
        for point in self.points:
            for base, named in self._bases(point):
                parts = _parts(point, base)
                against = f" against {shown(base.name)}" if named else ""
                lines += [f"{shown(point.title)}{against}: {', '.join(parts)}"] if parts else []
        return lines

    def _bases(self, point: Point) -> list[tuple[Point, bool]]:
        """Return the points that a point is compared with, and whether a line has to name them."""
        by_name = {p.name: p for p in self.points if p is not point}
        cell = point.cell
        of_mode = by_name.get("-".join((cell.backend, _UNQUANTIZED, *cell.traits)))
        plain = (cell.engine, cell.mode)
        names = ["-".join((*plain, *cell.devices)), "-".join(plain)]
        names += [] if of_mode else [f"{cell.engine}-{_UNQUANTIZED}"]
        is_plain = point.name == "-".join(plain)
        without = next((by_name[n] for n in names if n in by_name and not is_plain), None)
        return [(p, named) for p, named in ((of_mode, False), (without, True)) if p]


def trade_offs(records: Iterable[Record]) -> list[TradeOff]:
    """Return the trade-offs of every model of which two cells have a quality.

    Args:
        records: the newest of equal measurements counts; each machine and each revision of a model has
            separate trade-offs.
    """
    ordered = sorted(records, key=lambda record: record["run"]["started_at"])
    machines = _Machines()
    revisions = _Revisions(ordered)
    by_model: dict[tuple[str, int], list[Record]] = {}
    for record in ordered:
        number = machines.number_of(record["environment"])
        by_model.setdefault((revisions.name_of(record), number), []).append(record)
    names = machines.names()
    # Of all records: they show how fast the reference work can be.
    marks = {id(record): marks for record, marks in zip(ordered, marks_of(ordered), strict=True)}
    all_models = [
        _trade_off(
            f"{name} on {names[number]}" if len(names) > 1 else name,
            of_machine,
            names[number],
            marks,
        )
        for (name, number), of_machine in by_model.items()
    ]
    return [
        model for model in all_models if sum(_QUALITY in point.values for point in model.points) > 1
    ]


def _trade_off(
    model: str, records: Sequence[Record], machine_name: str, marks: Mapping[int, Marks]
) -> TradeOff:
    cells: dict[str, dict[str, Record]] = {}
    tests: dict[str, set[str]] = {}
    for record in records:
        test = _test(record)
        cells.setdefault(cell_name(record).variant, {})[test] = record
        if _SPEED in record["metrics"]:
            tests.setdefault(test, set()).add(cell_name(record).variant)
    # Python's max keeps the first of equals: the order of the run.
    chosen = max(tests, key=lambda test: len(tests[test]), default="")
    points = [_point(model, by_test, chosen, marks) for by_test in cells.values()]
    with_values = tuple(point for point in points if point.values)
    speeds = [by_test[chosen] for by_test in cells.values() if chosen in by_test]
    words = work_words(speeds[0]["workload"]) if speeds else ""
    return TradeOff(model, chosen, with_values, machine_name, words)


def _point(
    model: str, by_test: Mapping[str, Record], chosen: str, marks: Mapping[int, Marks]
) -> Point:
    """Return the point of one cell from its records by test.

    Args:
        chosen: the test that the speed comes from.
        marks: those of each record, by its id.
    """
    newest_first = list(by_test.values())[::-1]
    speed = by_test.get(chosen)
    quality = next((r for r in newest_first if _QUALITY in r["metrics"]), None)
    any_record = speed or quality or newest_first[0]
    values: dict[str, float] = {}
    for column in tradeoff_columns():
        others = newest_first if column.key in _OF_THE_CELL else ()
        sources = (r for r in (speed, quality, *others) if r and column.key in r["metrics"])
        if record := next(sources, None):
            values[column.key] = _p50(record, column.key) - _reserved(record, column.includes)
    of_speed = marks[id(speed)] if speed else ()
    return Point(model, cell_name(any_record), values, of_speed, remark_of(any_record))


def _reserved(record: Record, pool: str) -> float:
    """Return the size of a reserved pool that the peak includes for certain.

    On a CPU the peak is a resident set, which holds only the pages of the pool that were touched, and
    nothing reports how many those are.
    """
    return 0.0 if record["environment"]["device"] == "cpu" else _p50(record, pool)


class _Machines:
    """The machines that records come from: speeds of two machines are not a trade-off."""

    def __init__(self) -> None:
        self._environments: list[Mapping[str, Any]] = []

    def number_of(self, environment: Mapping[str, Any]) -> int:
        """Return the machine's number: that of the first record with the same hardware."""
        for number, known in enumerate(self._environments):
            if not hardware_changes(known, environment):
                return number
        self._environments.append(environment)
        return len(self._environments) - 1

    def names(self) -> list[str]:
        """Return a name for each; machines with the same name get the rest of their hardware added."""
        short = [machine(environment) for environment in self._environments]
        return [
            name if short.count(name) == 1 else f"{name} ({self._peculiarities(number, short)})"
            for number, name in enumerate(short)
        ]

    def _peculiarities(self, number: int, short: Sequence[str]) -> str:
        parts = hardware(self._environments[number])
        others = [
            hardware(environment)
            for environment, name in zip(self._environments, short, strict=True)
            if name == short[number]
        ]
        return ", ".join(
            f"{key} {value}"
            for key, value in parts.items()
            if any(other.get(key) != value for other in others)
        )


class _Revisions:
    """The revisions behind the names of models: another revision has other weights."""

    def __init__(self, ordered: Iterable[Record]) -> None:
        """Read the revisions of records, the oldest first."""
        self._of_source: dict[tuple[str, str], list[str]] = {}
        for model in (record["model"] for record in ordered):
            if model["revision"] is not None:
                known = self._of_source.setdefault((model["name"], model["source"]), [])
                known[:] = [*(r for r in known if r != model["revision"]), model["revision"]]

    def name_of(self, record: Record) -> str:
        """Return the model's name, with the revision where one of its sources has several.

        Early records have no revision: they count as the newest, like checkpoints of other sources.
        """
        model = record["model"]
        older = self._of_source.get((model["name"], model["source"]), [])[:-1]
        newest = [
            revisions[-1]
            for (name, _), revisions in self._of_source.items()
            if name == model["name"] and len(revisions) > 1
        ]
        if not newest:
            return model["name"]
        revision = model["revision"] if model["revision"] in older else newest[0]
        return f"{model['name']} (revision {str(revision)[:_SHORT]})"


def _test(record: Record) -> str:
    """Return the test's id without its cell."""
    nodeid, cell = str(record["nodeid"]), str(record.get("cell", ""))
    return nodeid.replace(cell, "", 1).replace("[-", "[").replace("[]", "") if cell else nodeid


def _p50(record: Record, key: str) -> float:
    """Return the p50 of a metric; 0 if the record does not have it."""
    metric = record["metrics"].get(key)
    return metric["p50"] if metric else 0.0


def _change(ratio: float, less: str, more: str) -> str:
    """Return ``39 % smaller`` for a ratio of 0.61."""
    share = f"{abs(ratio - 1):.0%}".replace("%", " %")
    return "unchanged" if share == "0 %" else f"{share} {less if ratio < 1 else more}"


def _parts(point: Point, base: Point) -> list[str]:
    """Return memory, speed, quality and energy against the unquantized model, if both have them."""
    parts = []
    is_unpacked = point.remark.startswith("runs ")
    if not is_unpacked and (weights := _ratio(point, base, "model_memory")):
        parts.append(f"weights {_change(weights, 'smaller', 'larger')}")
    if not is_unpacked and (peak := _ratio(point, base, "peak_memory")):
        # Beside the weights: an engine that unpacks them as it goes may need more at its peak.
        parts.append(f"peak memory {_change(peak, 'lower', 'higher')}")
    if speed := _ratio(point, base, _SPEED):
        parts.append(f"{speed:.2g}x speed" if _is_steady(point, base, _SPEED) else _DOUBTFUL)
    if perplexity := _ratio(point, base, _QUALITY):
        parts.append(f"perplexity {perplexity - 1:+.1%}".replace("%", " %"))
    if (agreement := point.values.get("top1_agreement")) is not None:
        parts.append(f"{agreement:.0%}".replace("%", " %") + " of next tokens the same")
    energy = _ratio(point, base, _ENERGY)
    if energy and _is_steady(point, base, _ENERGY):
        parts.append(f"{energy:.2g}x energy per token")
    return parts


_DOUBTFUL = "speed not compared (disturbed)"


def _is_steady(point: Point, base: Point, key: str) -> bool:
    """Return whether neither point's number was disturbed."""
    return not any(mark.spoils({key}) for mark in (*point.marks, *base.marks))


def _ratio(above: Point, below: Point, key: str) -> float | None:
    """Return the ratio of two points' values; None if one of them is missing or zero."""
    dividend, divisor = above.values.get(key), below.values.get(key)
    return dividend / divisor if dividend and divisor else None
