"""Show trade-offs: a table, a line in words for each mode, a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..analysis.marks import mark_lines, sign
from ..analysis.tradeoff import Point, TradeOff
from ..core.printable import printable
from ..metrics.definitions import MetricDefinition, tradeoff_columns
from .line import wrapped
from .markdown import code, code_in_table

MISSING_EXTRA = "a plot needs matplotlib: pip install 'pytest-llmperf[plot]'"
_DPI = 120
_SPEED, _QUALITY, _WEIGHTS = "output_throughput", "perplexity", "model_memory"


def lines(
    trade_offs: Sequence[TradeOff], tablefmt: str = "simple", width: int | None = None
) -> list[str]:
    """Return the tables and words of all models.

    Args:
        tablefmt: tabulate's name of the table's format; ``github`` for markdown.
        width: columns of the terminal: longer words are broken, and columns left out from the right.
            None: no limit.
    """
    in_markdown = tablefmt == "github"
    shown, in_table = (code, code_in_table) if in_markdown else (printable, printable)
    result: list[str] = []
    for trade_off in trade_offs:
        result += _table(trade_off, in_table, tablefmt, width)
        bullet = "- " if in_markdown else ""
        noted = [(shown(point.name), point.marks) for point in trade_off.points]
        words = trade_off.words(shown)
        texts = (
            [f"{_basis(trade_off, shown)}:", *(bullet + text for text in words)] if words else []
        )
        texts += [bullet + text for text in mark_lines(noted)]
        result += ["", *(part for text in texts for part in wrapped(text, width))]
        if trade_off.test:
            result += ["", f"speed and memory: {shown(trade_off.test)}"]
        result.append("")
    return result[:-1]


def _basis(trade_off: TradeOff, shown: Callable[[str], str]) -> str:
    return replace(trade_off, machine=shown(trade_off.machine)).basis


def _table(
    trade_off: TradeOff, in_table: Callable[[str], str], tablefmt: str, width: int | None
) -> list[str]:
    from tabulate import tabulate

    columns = [
        column
        for column in tradeoff_columns()
        if any(column.key in point.values for point in trade_off.points)
    ]
    while True:
        body = [
            [
                in_table(point.title) + sign(point.marks),
                *(_text(point, column) for column in columns),
            ]
            for point in trade_off.points
        ]
        headers = [in_table(trade_off.model), *(column.title for column in columns)]
        align = ["left", *["right"] * len(columns)]
        text = tabulate(body, headers, tablefmt=tablefmt, colalign=align, disable_numparse=True)
        drawn = text.splitlines()
        if width is None or max(map(len, drawn)) <= width or len(columns) < 2:
            return drawn
        columns = columns[:-1]


def plot(trade_off: TradeOff, path: Path) -> None:
    """Plot speed against perplexity: one disc per mode, its area the memory of the weights.

    Args:
        path: its suffix names the format (``.svg``, ``.png``, ``.pdf``).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no mode has both, or the format is unknown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = [p for p in trade_off.points if p.values.get(_SPEED) and p.values.get(_QUALITY)]
    if not points:
        raise ValueError(f"{trade_off.model}: no mode has a speed and a perplexity")
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for backend in dict.fromkeys(p.backend for p in points):
        of_backend = [p for p in points if p.backend == backend]
        axes.scatter(
            [p.values[_SPEED] for p in of_backend],
            [p.values[_QUALITY] for p in of_backend],
            s=[_area(p, points) for p in of_backend],
            alpha=0.5,
            label=backend,
        )
    axes.margins(0.15)
    _label(axes, points)
    axes.set_xlabel("output tokens/s (higher is better)")
    axes.set_ylabel("perplexity (lower is better)")
    figure.suptitle(f"{trade_off.model}: the lower right is good (fast, and close to the text)")
    where = ", ".join(part for part in (trade_off.machine, trade_off.workload) if part)
    axes.set_title(f"{where}\narea of a disc: memory of its weights", fontsize=8)
    left_out = [p.name for p in trade_off.points if p not in points]
    if left_out:
        figure.supxlabel(
            f"not drawn, as speed or perplexity is missing: {', '.join(left_out)}", size=8
        )
    legend = axes.legend(title="engine")
    for handle in legend.legend_handles:
        handle.set_sizes([60])
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def _area(point: Point, points: Sequence[Point]) -> float:
    """Return the area of a disc, in square points."""
    largest = max(p.values.get(_WEIGHTS, 0) for p in points) or 1
    return 40 + 600 * point.values.get(_WEIGHTS, 0) / largest


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Write names beside the discs, those of close neighbors on different sides."""
    sides = ((8, 8, "left"), (8, -14, "left"), (-8, 8, "right"), (-8, -14, "right"))
    spans = [
        max(p.values[key] for p in points) - min(p.values[key] for p in points) or 1
        for key in (_SPEED, _QUALITY)
    ]
    several = len({point.backend for point in points}) > 1
    placed: list[tuple[float, float]] = []
    for point in points:
        here = (point.values[_SPEED] / spans[0], point.values[_QUALITY] / spans[1])
        close = sum(abs(here[0] - x) < 0.15 and abs(here[1] - y) < 0.08 for x, y in placed)
        placed.append(here)
        dx, dy, side = sides[close % len(sides)]
        radius = math.sqrt(_area(point, points)) / 2  # In points: the label stands beside the disc.
        away = (dx + math.copysign(radius * 0.7, dx), dy + math.copysign(radius * 0.7, dy))
        axes.annotate(
            point.name if several else point.name.removeprefix(f"{point.backend}-"),
            (point.values[_SPEED], point.values[_QUALITY]),
            xytext=away,
            textcoords="offset points",
            ha=side,
            fontsize=8,
        )


def _text(point: Point, column: MetricDefinition) -> str:
    value = point.values.get(column.key)
    return "-" if value is None else column.shown(value)
