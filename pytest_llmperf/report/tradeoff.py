"""Trade-offs as a person reads them: a table, a line in words for each mode, a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.tradeoff import Point, TradeOff

MISSING_EXTRA = "a plot needs matplotlib: pip install 'pytest-llmperf[plot]'"
_DPI = 120


@dataclass(frozen=True)
class _Column:
    title: str
    attribute: str
    scale: float
    digits: int


_COLUMNS = (
    _Column("tokens/s", "tokens_per_s", 1, 1),
    _Column("weights MiB", "weights_mib", 1, 0),
    _Column("peak MiB", "peak_mib", 1, 0),
    _Column("perplexity", "perplexity", 1, 2),
    _Column("KL nats", "kl_divergence", 1, 4),
    _Column("agree %", "agreement", 100, 1),
    _Column("J/token", "joules_per_token", 1, 3),
)


def lines(found: Sequence[TradeOff], tablefmt: str = "simple") -> list[str]:
    """Tables and words of all models.

    Args:
        tablefmt: tabulate's name of the table's form; ``github`` for markdown.
    """
    from tabulate import tabulate

    result: list[str] = []
    for one in found:
        columns = [
            c for c in _COLUMNS if any(getattr(p, c.attribute) is not None for p in one.points)
        ]
        body = [[point.name, *(_text(point, column) for column in columns)] for point in one.points]
        headers = [one.model, *(column.title for column in columns)]
        align = ["left", *["right"] * len(columns)]
        result += tabulate(
            body, headers, tablefmt=tablefmt, colalign=align, disable_numparse=True
        ).splitlines()
        bullet = "- " if tablefmt == "github" else ""
        result += ["", *(bullet + words for words in one.words())]
        if one.test:
            result += ["", f"speed and memory: {one.test}"]
        result.append("")
    return result[:-1]


def plot(found: TradeOff, path: Path) -> None:
    """Speed against perplexity, a disc a mode, its area the memory of the weights.

    Args:
        path: its suffix names the format (``.svg``, ``.png``, ``.pdf``).

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no mode has both, or the format is unknown.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = [p for p in found.points if p.tokens_per_s and p.perplexity]
    if not points:
        raise ValueError(f"{found.model}: no mode has a speed and a perplexity")
    largest = max((p.weights_mib or 0 for p in points), default=0) or 1
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for backend in dict.fromkeys(p.backend for p in points):
        own = [p for p in points if p.backend == backend]
        axes.scatter(
            [p.tokens_per_s for p in own],
            [p.perplexity for p in own],
            s=[40 + 600 * (p.weights_mib or 0) / largest for p in own],
            alpha=0.5,
            label=backend,
        )
    axes.margins(0.15)
    _label(axes, points)
    axes.set_xlabel("output tokens/s")
    axes.set_ylabel("perplexity (lower is better)")
    axes.set_title(f"{found.model}: area of a disc is the memory of its weights")
    legend = axes.legend(title="engine")
    for handle in legend.legend_handles:
        handle.set_sizes([60])
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Names beside the discs; those of close neighbours on other sides."""
    sides = ((8, 8, "left"), (8, -14, "left"), (-8, 8, "right"), (-8, -14, "right"))
    spans = [
        max(getattr(p, name) for p in points) - min(getattr(p, name) for p in points) or 1
        for name in ("tokens_per_s", "perplexity")
    ]
    placed: list[tuple[float, float]] = []
    for point in points:
        here = ((point.tokens_per_s or 0) / spans[0], (point.perplexity or 0) / spans[1])
        close = sum(abs(here[0] - x) < 0.15 and abs(here[1] - y) < 0.08 for x, y in placed)
        placed.append(here)
        dx, dy, side = sides[close % len(sides)]
        axes.annotate(
            point.mode,
            (point.tokens_per_s, point.perplexity),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            fontsize=8,
        )


def _text(point: Point, column: _Column) -> str:
    value = getattr(point, column.attribute)
    return "-" if value is None else f"{value * column.scale:,.{column.digits}f}"
