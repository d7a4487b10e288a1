"""Verdicts: what the gate says of each cell, and of a whole comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

SCHEMA = 1
INTERVAL = 0.90
"""Level of every interval that a verdict has: its ends are one-sided bounds of 95 %."""
PASSED, REGRESSED, UNDECIDED, BROKEN = 0, 1, 2, 3


class Verdict(Enum):
    """The five answers, in the order in which they are tried."""

    NOT_COMPARABLE = "not comparable"
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    PASS = "pass"
    INCONCLUSIVE = "inconclusive"


_WORST_FIRST = (
    Verdict.REGRESSION,
    Verdict.NOT_COMPARABLE,
    Verdict.INCONCLUSIVE,
    Verdict.IMPROVEMENT,
    Verdict.PASS,
)


@dataclass(frozen=True)
class CellVerdict:
    """One metric of one test. Ratios are candidate over baseline - 1, turned so that plus is worse."""

    nodeid: str
    metric: str
    verdict: Verdict
    unit: str = ""
    baseline: float | None = None
    """Median in the metric's unit."""
    candidate: float | None = None
    effect: float | None = None
    low: float | None = None
    """Lower end of the effect's 90 % interval."""
    high: float | None = None
    detectable: float | None = None
    """Smallest regression that this comparison finds in 80 of 100 cases."""
    n: int = 0
    """Pairs, or baseline jobs."""
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True)
class Judgement:
    """A comparison: its cells, and what else has to be said."""

    mode: str
    """``pairs`` or ``history``."""
    baseline: str
    candidate: str
    cells: tuple[CellVerdict, ...]
    new: tuple[str, ...] = ()
    """Tests that the baseline does not have."""
    gone: tuple[str, ...] = ()
    """Tests that the candidate does not have."""
    failures: tuple[str, ...] = ()
    """What could not be measured: side, pair, test, and why."""
    broken: tuple[str, ...] = ()
    """Tests that the baseline measures and the candidate cannot."""
    notes: tuple[str, ...] = ()
    """Conditions worth knowing: throttling, neighbours, other versions."""
    settings: dict[str, Any] = field(default_factory=dict)

    def of(self, verdict: Verdict) -> list[CellVerdict]:
        return [cell for cell in self.cells if cell.verdict is verdict]

    def exit_code(self, strict: bool = False) -> int:
        """0 pass, 1 regression, 2 undecided under ``strict``, 3 nothing to compare or broken."""
        if self.of(Verdict.REGRESSION):
            return REGRESSED
        incomparable = self.of(Verdict.NOT_COMPARABLE)
        # A history waits for runs of a new machine; pairs were measured for nothing.
        nothing = self.mode == "pairs" and len(incomparable) == len(self.cells)
        if self.broken or not self.cells or nothing:
            return BROKEN
        undecided = self.of(Verdict.INCONCLUSIVE) or incomparable or self.gone
        return UNDECIDED if strict and undecided else PASSED

    def summary(self) -> str:
        """One line: the worst first."""
        counts = [(len(self.of(verdict)), verdict) for verdict in _WORST_FIRST]
        parts = [_counted(n, verdict) for n, verdict in counts if n]
        parts += [f"{len(self.broken)} broken"] if self.broken else []
        return ", ".join(parts) or "nothing to compare"

    def as_dict(self) -> dict[str, Any]:
        """The stored form, schema 1."""
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "summary": self.summary(),
            "cells": [cell.as_dict() for cell in self.cells],
            "new": list(self.new),
            "gone": list(self.gone),
            "failures": list(self.failures),
            "broken": list(self.broken),
            "notes": list(self.notes),
            "settings": self.settings,
        }


def _counted(n: int, verdict: Verdict) -> str:
    plural = {"regression": "regressions", "improvement": "improvements"}
    word = verdict.value if n == 1 else plural.get(verdict.value, verdict.value)
    return f"{n} {word}"


def worst_first(cells: Sequence[CellVerdict]) -> list[CellVerdict]:
    """Regressions, then what is undecided, then improvements, then passes; each by size of effect."""
    return sorted(
        cells, key=lambda c: (_WORST_FIRST.index(c.verdict), -abs(c.effect or 0.0), c.nodeid)
    )
