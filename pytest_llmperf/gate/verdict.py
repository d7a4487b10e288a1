"""The gate's verdicts on entries, and on a whole comparison.

An entry is one metric of one test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ..metrics.definitions import METRICS

SCHEMA = 2
"""Version of the verdict's JSON. In 1, ``entries`` was called ``cells``."""
INTERVAL = 0.90
"""Level of every interval of a verdict: its ends are one-sided bounds of 95 %."""
PASSED, REGRESSED, UNDECIDED, BROKEN = 0, 1, 2, 3


class Verdict(Enum):
    """The five verdicts, in the order in which they are tried."""

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
class EntryVerdict:
    """The verdict on an entry. Ratios are candidate over baseline - 1, turned so that plus is worse."""

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
    """Smallest regression that this comparison detects in 80 of 100 cases."""
    n: int = 0
    """Pairs, or baseline jobs."""
    reason: str = ""
    new_level: bool = False
    """Not comparable because the project has changed a setting: a new level, until it is accepted."""

    @property
    def change(self) -> float | None:
        """Candidate over baseline - 1 as people compute it: a rate that falls to a half is at -50 %."""
        return self._turned(self.effect)

    @property
    def change_interval(self) -> tuple[float, float] | None:
        """The interval of the change, its lower end first."""
        ends = [self._turned(end) for end in (self.low, self.high)]
        known = [end for end in ends if end is not None]
        return (min(known), max(known)) if len(known) == 2 else None

    def _turned(self, effect: float | None) -> float | None:
        metric = METRICS.get(self.metric)
        if effect is None or metric is None or metric.better == "lower":
            return effect
        return 1 / (1 + effect) - 1 if effect > -1 else None

    def as_dict(self) -> dict[str, Any]:
        low, high = self.change_interval or (None, None)
        changes = {"change": self.change, "change_low": low, "change_high": high}
        return {**asdict(self), "verdict": self.verdict.value, **changes}


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a comparison, with its failures and notes."""

    mode: str
    """``pairs`` or ``history``."""
    baseline: str
    candidate: str
    entries: tuple[EntryVerdict, ...]
    new: tuple[str, ...] = ()
    """Tests that the baseline does not have."""
    gone: tuple[str, ...] = ()
    """Tests that the candidate does not have."""
    failures: tuple[str, ...] = ()
    """Measurements that failed: side, pair, test and reason."""
    broken: tuple[str, ...] = ()
    """Tests that the baseline can run and the candidate cannot."""
    notes: tuple[str, ...] = ()
    """Conditions of the measurement: throttling, other processes, different versions."""
    settings: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, list[str]] = field(default_factory=dict)
    """Hardware, engines with their versions, and workloads, in words (``measured``)."""

    def of(self, verdict: Verdict) -> list[EntryVerdict]:
        return [entry for entry in self.entries if entry.verdict is verdict]

    @property
    def new_levels(self) -> list[EntryVerdict]:
        """Return the entries whose setting has changed, and which nobody has accepted."""
        return [entry for entry in self.entries if entry.new_level]

    def exit_code(self, strict: bool = False) -> int:
        """Return 0 pass, 1 regression, 2 undecided under ``strict``, 3 nothing to compare or broken.

        A new level counts as a regression: nobody knows what it hides until it is accepted.
        """
        if self.of(Verdict.REGRESSION) or self.new_levels:
            return REGRESSED
        incomparable = self.of(Verdict.NOT_COMPARABLE)
        # A history waits for runs of a new machine; pairs were measured for nothing.
        nothing = self.mode == "pairs" and len(incomparable) == len(self.entries)
        if self.broken or not self.entries or nothing:
            return BROKEN
        undecided = self.of(Verdict.INCONCLUSIVE) or incomparable or self.gone
        return UNDECIDED if strict and undecided else PASSED

    def summary(self) -> str:
        """Return the counts in one line, the worst first."""
        counts = [(len(self.of(verdict)), verdict) for verdict in _WORST_FIRST]
        parts = [_counted(n, verdict) for n, verdict in counts if n]
        parts += [f"{len(self.broken)} broken"] if self.broken else []
        return ", ".join(parts) or "nothing to compare"

    def as_dict(self) -> dict[str, Any]:
        """Return the stored form."""
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "summary": self.summary(),
            "entries": [entry.as_dict() for entry in self.entries],
            "new": list(self.new),
            "gone": list(self.gone),
            "failures": list(self.failures),
            "broken": list(self.broken),
            "notes": list(self.notes),
            "settings": self.settings,
            "measured": self.measured,
        }


def new_level_line(judgement: Judgement) -> str:
    """Return one line on the entries at a new level, and what to do; empty if there are none."""
    entries = judgement.new_levels
    if not entries:
        return ""
    reasons = dict.fromkeys(entry.reason for entry in entries)
    first, more = next(iter(reasons)), len(reasons) - 1
    others = f" (and {more} more)" if more else ""
    are = "entry is" if len(entries) == 1 else "entries are"
    return (
        f"{len(entries)} {are} at a new level, because a setting changed: {first}{others}; measure "
        "the change with `pytest-llmperf ab`, and accept it with --llm-accept"
    )


def _counted(n: int, verdict: Verdict) -> str:
    plural = {"regression": "regressions", "improvement": "improvements"}
    word = verdict.value if n == 1 else plural.get(verdict.value, verdict.value)
    return f"{n} {word}"


def worst_first(entries: Sequence[EntryVerdict]) -> list[EntryVerdict]:
    """Return regressions, undecided entries, improvements, then passes; each by size of effect."""
    return sorted(
        entries,
        key=lambda e: (_WORST_FIRST.index(e.verdict), -abs(e.effect or 0.0), e.nodeid),
    )
