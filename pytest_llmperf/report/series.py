"""The table of entries over stored runs."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ..core.printable import printable
from ..gate.series import Series
from .verdicts import amount

_HEADERS = ["test", "metric", "runs", "level", "between runs", "newest", "change"]


def table(
    series: Sequence[Series], steps: Sequence[Sequence[tuple[int, float]]] | None
) -> list[str]:
    """Return the lines of the table, one row per entry.

    Args:
        steps: change points of each entry; None if they were not computed.
    """
    rows = []
    for index, entry in enumerate(series):
        row = [
            *map(printable, entry.key),
            str(len(entry.points)),
            amount(entry.level, printable(entry.unit)),
            "" if entry.variation is None else f"{entry.variation:.2%}",
            amount(entry.values[-1], printable(entry.unit)),
            f"{entry.change:+.1%}",
        ]
        if steps is not None:
            row.append(", ".join(_step(entry, *step) for step in steps[index]))
        rows.append(row)
    headers = _HEADERS if steps is None else [*_HEADERS, "steps"]
    text = tabulate(rows, headers, disable_numparse=True)
    return [
        *text.splitlines(),
        "",
        "level: median since the accepted change; change: newest against the level",
    ]


def _step(entry: Series, at: int, change: float) -> str:
    return f"{printable(entry.points[at].run.label)} ({change:+.1%})"
