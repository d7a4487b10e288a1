"""An entry's history as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ..gate.series import Series
from .verdicts import amount

_HEADERS = ["test", "metric", "runs", "level", "between runs", "newest", "change"]


def table(
    series: Sequence[Series], steps: Sequence[Sequence[tuple[int, float]]] | None
) -> list[str]:
    """Return the lines of the table; ``steps`` are change points, None if nobody looked."""
    rows = []
    for index, one in enumerate(series):
        row = [
            *one.key,
            str(len(one.points)),
            amount(one.level, one.unit),
            "" if one.variation is None else f"{one.variation:.2%}",
            amount(one.values[-1], one.unit),
            f"{one.worse:+.1%}",
        ]
        if steps is not None:
            row.append(", ".join(_step(one, *step) for step in steps[index]))
        rows.append(row)
    headers = _HEADERS if steps is None else [*_HEADERS, "steps"]
    text = tabulate(rows, headers, disable_numparse=True)
    return [
        *text.splitlines(),
        "",
        "level: median since the accepted change; change: newest, + is worse",
    ]


def _step(one: Series, at: int, change: float) -> str:
    return f"{one.points[at].run.label} ({change:+.1%})"
