"""The run beside a stored one (``--benchmark-compare``): before, now, and the change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..analysis.marks import Mark, Marks, mark_lines, marks_of, sign
from ..core.printable import printable
from ..gate.comparable import differences, noted_differences
from ..metrics.definitions import MetricDefinition
from ..store.reached import SHARES, ceiling_of, common_share
from ..store.schema import Record
from ..store.stored import TestRecord, judged_test
from .line import wrapped
from .subject import columns_of, subject_of, work_of
from .terminal import names_of

_HEADERS = ["", "metric", "before", "now", "change"]
_ALIGN = ["left", "left", "right", "right", "right"]


@dataclass(frozen=True)
class _Pair:
    """A measurement in both runs."""

    before: Record
    now: Record
    marks: tuple[Marks, Marks]

    @property
    def name(self) -> str:
        return names_of(self.now)[1]

    @property
    def difference(self) -> str:
        """Return why they cannot be compared; empty if they can."""
        return "; ".join(differences(*self._tests, same_engine=False))

    @property
    def note(self) -> str:
        """Return what else differs: an argument, a version, a ceiling; empty for nothing."""
        return "; ".join([*noted_differences(*self._tests), *self._other_ceilings])

    @property
    def _other_ceilings(self) -> list[str]:
        """Return a phrase on the shares whose ceilings differ between the runs."""
        sides = self.before["environment"], self.now["environment"]
        keys = [column.key for column in self.columns if column.key in SHARES]
        known = {key: [ceiling_of(side, key) for side in sides] for key in keys}
        differ = [key for key, (before, now) in known.items() if before and now and before != now]
        ceilings = [
            f"{key} ceiling {' / '.join(f'{side[0]:.3g} {side[1]}' for side in known[key] if side)}"
            for key in differ
        ]
        return [f"{', '.join(ceilings)}: shown are shares of the higher one"] if ceilings else []

    def values(self, key: str) -> tuple[float, float]:
        """Return the medians of a metric before and now; shares are of the higher of both ceilings."""
        before, now = (record["metrics"][key]["p50"] for record in (self.before, self.now))
        if key in SHARES:
            sides = self.before["environment"], self.now["environment"]
            shares = (common_share(before, *sides, key), common_share(now, *sides[::-1], key))
            before, now = (
                share if share is not None else value
                for share, value in zip(shares, (before, now), strict=True)
            )
        return before, now

    @property
    def _tests(self) -> tuple[TestRecord, TestRecord]:
        return judged_test(self.before, ()), judged_test(self.now, ())

    @property
    def all_marks(self) -> tuple[Mark, ...]:
        return (*self.marks[0], *self.marks[1])

    @property
    def columns(self) -> list[MetricDefinition]:
        """Return the metrics of the table after a run that both have."""
        both = self.before["metrics"].keys() & self.now["metrics"].keys()
        subject = subject_of([work_of(self.now["workload"])])
        columns = [column for column in columns_of(subject) if column.key in both]
        rounds = [column for column in columns if column.per != "process"]
        return rounds or columns


def comparison(
    before: Sequence[Record], now: Sequence[Record], width: int | None = None
) -> list[str]:
    """Return a table for each test that both runs have, with a row for each metric.

    A change across different conditions is not shown, and measurements on other hardware are named only.

    Args:
        width: columns of the terminal; None: no limit.
    """
    pairs = _pairs(before, now)
    lines: list[str] = []
    for test in dict.fromkeys(names_of(pair.now)[0] for pair in pairs):
        of_test = [pair for pair in pairs if names_of(pair.now)[0] == test]
        lines += [printable(test), *_table([pair for pair in of_test if not pair.difference])]
        notes = [
            f"{pair.name} is not comparable: {pair.difference}"
            for pair in of_test
            if pair.difference
        ]
        notes += [
            f"{pair.name}: {pair.note}" for pair in of_test if pair.note and not pair.difference
        ]
        notes += mark_lines(_marked(of_test))
        lines += [part for note in notes for part in wrapped(printable(note), width)] + [""]
    known = {record["nodeid"] for record in before}
    if new := [record["nodeid"] for record in now if record["nodeid"] not in known]:
        lines += [printable(f"not in the stored run: {nodeid}") for nodeid in new] + [""]
    return lines[:-1]


def _pairs(before: Sequence[Record], now: Sequence[Record]) -> list[_Pair]:
    # Together: both show how fast the machine's reference work can be.
    marks = marks_of([*before, *now])
    stored = {
        record["nodeid"]: (record, of_record)
        for record, of_record in zip(before, marks, strict=False)
    }
    return [
        _Pair(stored[record["nodeid"]][0], record, (stored[record["nodeid"]][1], of_record))
        for record, of_record in zip(now, marks[len(before) :], strict=True)
        if record["nodeid"] in stored
    ]


def _marked(pairs: Iterable[_Pair]) -> list[tuple[str, Marks]]:
    return [
        (f"{pair.name} {when}", marks)
        for pair in pairs
        for when, marks in zip(("before", "now"), pair.marks, strict=True)
    ]


def _table(pairs: Sequence[_Pair]) -> list[str]:
    from tabulate import tabulate

    rows = [
        [printable(pair.name) + sign(pair.all_marks) if i == 0 else "", *_row(pair, column)]
        for pair in pairs
        for i, column in enumerate(pair.columns)
    ]
    if not rows:
        return []
    # The headers are formatted as a row: as headers they would get extra space on both sides.
    titles, *cells = tabulate(
        [_HEADERS, *rows], tablefmt="plain", colalign=_ALIGN, disable_numparse=True
    ).splitlines()
    widths = [max(len(row[i]) for row in [_HEADERS, *rows]) for i in range(len(_HEADERS))]
    return [titles, "  ".join("-" * width for width in widths), *cells]


def _row(pair: _Pair, column: MetricDefinition) -> list[str]:
    before, now = pair.values(column.key)
    doubtful = any(mark.spoils({column.key}) for mark in pair.all_marks)
    change = "-" if doubtful or not before else f"{now / before - 1:+.1%}"
    return [column.title, column.shown(before), column.shown(now), change]
