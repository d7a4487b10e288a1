"""Show trade-offs: a table, a line in words for each mode, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..analysis.tradeoff import Point, TradeOff
from ..core.printable import printable
from ..metrics.definitions import MetricDefinition, tradeoff_columns
from .markdown import code, code_in_table

MISSING_EXTRA = "a plot needs matplotlib: pip install 'pytest-llmperf[plot]'"
_DPI = 120
_SPEED, _QUALITY, _WEIGHTS = "output_throughput", "perplexity", "model_memory"


def lines(trade_offs: Sequence[TradeOff], tablefmt: str = "simple") -> list[str]:
    """Return the tables and words of all models.

    Args:
        tablefmt: tabulate's name of the table's format; ``github`` for markdown.
    """
    from tabulate import tabulate

    in_markdown = tablefmt == "github"
    shown, in_table = (code, code_in_table) if in_markdown else (printable, printable)
    result: list[str] = []
    for trade_off in trade_offs:
        columns = [
            column
            for column in tradeoff_columns()
            if any(column.key in point.values for point in trade_off.points)
        ]
        body = [
            [in_table(point.name), *(_text(point, column) for column in columns)]
            for point in trade_off.points
        ]
        headers = [in_table(trade_off.model), *(column.title for column in columns)]
        align = ["left", *["right"] * len(columns)]
        result += tabulate(
            body, headers, tablefmt=tablefmt, colalign=align, disable_numparse=True
        ).splitlines()
        bullet = "- " if in_markdown else ""
        result += ["", *(bullet + words for words in trade_off.words(shown))]
        if trade_off.test:
            result += ["", f"speed and memory: {shown(trade_off.test)}"]
        result.append("")
    return result[:-1]


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
    largest = max(p.values.get(_WEIGHTS, 0) for p in points) or 1
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for backend in dict.fromkeys(p.backend for p in points):
        of_backend = [p for p in points if p.backend == backend]
        axes.scatter(
            [p.values[_SPEED] for p in of_backend],
            [p.values[_QUALITY] for p in of_backend],
            s=[40 + 600 * p.values.get(_WEIGHTS, 0) / largest for p in of_backend],
            alpha=0.5,
            label=backend,
        )
    axes.margins(0.15)
    _label(axes, points)
    axes.set_xlabel("output tokens/s")
    axes.set_ylabel("perplexity (lower is better)")
    axes.set_title(f"{trade_off.model}: area of a disc is the memory of its weights")
    legend = axes.legend(title="engine")
    for handle in legend.legend_handles:
        handle.set_sizes([60])
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Write names beside the discs, those of close neighbors on different sides."""
    sides = ((8, 8, "left"), (8, -14, "left"), (-8, 8, "right"), (-8, -14, "right"))
    spans = [
        max(p.values[key] for p in points) - min(p.values[key] for p in points) or 1
        for key in (_SPEED, _QUALITY)
    ]
    placed: list[tuple[float, float]] = []
    for point in points:
        here = (point.values[_SPEED] / spans[0], point.values[_QUALITY] / spans[1])
        close = sum(abs(here[0] - x) < 0.15 and abs(here[1] - y) < 0.08 for x, y in placed)
        placed.append(here)
        dx, dy, side = sides[close % len(sides)]
        axes.annotate(
            point.mode,
            (point.values[_SPEED], point.values[_QUALITY]),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            fontsize=8,
        )


def _text(point: Point, column: MetricDefinition) -> str:
    value = point.values.get(column.key)
    return "-" if value is None else column.shown(value)
