"""Marks of rows that were measured under a disturbance, from their records: what was it, in words.

The same marks stand under every table that shows the rows, and forbid a ratio across them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.definitions import METRICS
from ..metrics.samples import Metric, known, of_these_rounds
from ..store.hardware import hardware_changes
from ..store.schema import Record

BUSY_CORES, BUSY_SHARE = 0.25, 0.05
"""Cores that other processes may use: so many, or this share of the machine's if that is more."""
STEAL_SHARE = 0.02
"""Share of the cores' time that the hypervisor may take for other guests."""
SWAPPED_MIB = 1.0
"""Memory that may be read from or written to swap."""
SLOW_CANARY = 1.2
"""The reference work's time over the machine's shortest from which the machine counts as slow."""
UNSTEADY = 0.10
"""Half the interquartile range of the rounds over their median, from which a metric is unsteady."""

HARMFUL_THROTTLING = (
    "hw_slowdown",
    "hw_thermal_slowdown",
    "sw_thermal_slowdown",
    "hw_power_brake",
)
"""Reasons that no setting explains; a power limit holds for every run on the card."""
_WATCHED = ("ttft", "tpot", "e2e", "output_throughput")
_UNTOUCHED_DEVICE = "simulated"
"""Waits to deadlines, which no neighbor moves."""

SIGN = "!"
"""Stands behind the name of a marked row, and before its words."""


@dataclass(frozen=True)
class Mark:
    """A disturbance of a measurement."""

    words: str
    metrics: frozenset[str] | None = None
    """The metrics whose numbers it makes doubtful; None: all of them."""

    def spoils(self, keys: Collection[str]) -> bool:
        """Return whether it makes one of these metrics doubtful."""
        return self.metrics is None or not self.metrics.isdisjoint(keys)


Marks = tuple[Mark, ...]

_TIMES = frozenset(key for key, definition in METRICS.items() if definition.kind == "timing")


def marks_of(records: Sequence[Record]) -> list[Marks]:
    """Return the marks of each record.

    Args:
        records: those of one machine show how fast its reference work can be.
    """
    machines = _Machines(records)
    return [
        (*_activity(record), *machines.slow_canary(record), *_unsteady(record))
        for record in records
    ]


def _activity(record: Record) -> list[Mark]:
    """Return marks for what the kernel and the driver counted while the rounds ran."""
    environment = record["environment"]
    state: Mapping[str, Any] = environment.get("conditions") or {}
    marks = []
    if (state.get("swapped_mib") or 0) > SWAPPED_MIB:
        marks.append(Mark(f"swapping: {state['swapped_mib']:,.0f} MiB"))
    # One of them rests, if rounds alternate with those of another engine.
    neighbors = (state.get("other_gpu_processes") or 0) - bool(state.get("in_turns"))
    if neighbors > 0:
        what = "process" if neighbors == 1 else "processes"
        marks.append(Mark(f"shared GPU: {neighbors} other {what}"))
    for reason in state.get("throttling") or ():
        if reason in HARMFUL_THROTTLING:
            marks.append(Mark(f"GPU throttled: {reason.replace('_', ' ')}", _TIMES))
    if environment["device"] == _UNTOUCHED_DEVICE:
        return marks
    cores, others = environment.get("cores"), state.get("other_cores") or 0
    if others > max(BUSY_CORES, BUSY_SHARE * (cores or 0)):
        marks.append(Mark(f"busy: {others:.1f}{f' of {cores}' if cores else ''} cores", _TIMES))
    if (steal := state.get("steal_share") or 0) > STEAL_SHARE:
        marks.append(Mark(f"hypervisor took {_percent(steal)} of the CPU", _TIMES))
    return marks


def _unsteady(record: Record) -> list[Mark]:
    """Return a mark if the rounds differ by more than noise."""
    samples = {key: part["samples"] for key, part in record["metrics"].items() if key in _WATCHED}
    metrics = known(samples)
    rounds = metrics["output_throughput"].n if "output_throughput" in metrics else 0
    metrics = of_these_rounds(metrics, rounds, None)
    spreads = {key: _spread(metric) for key, metric in metrics.items()}
    wide = {key: spread for key, spread in spreads.items() if spread > UNSTEADY}
    if not wide:
        return []
    parts = [f"{METRICS[key].short} ±{_percent(spread)}" for key, spread in wide.items()]
    return [Mark(f"unsteady: {', '.join(parts)}", frozenset(wide))]


def _spread(metric: Metric) -> float:
    """Return the spread between rounds: requests of one batch wait for each other and may differ."""
    by_round = metric.by_round
    return Metric(metric.definition, by_round).spread if len(by_round) >= 3 else 0.0


class _Machines:
    """The shortest times of the reference work on each machine that records come from."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._machines: list[tuple[Mapping[str, Any], dict[tuple[str, str], float]]] = []
        for record in records:
            shortest = self._shortest(record)
            for key, seconds in _canaries(record).items():
                shortest[key] = min(*seconds, shortest.get(key, math.inf))

    def slow_canary(self, record: Record) -> list[Mark]:
        """Return a mark if the reference work beside a measurement took longer than it can."""
        shortest = self._shortest(record)
        slow = [max(seconds) / shortest[key] for key, seconds in _canaries(record).items()]
        worst = max(slow, default=1.0)
        return [Mark(f"canary {worst:.1f}x slow", _TIMES)] if worst > SLOW_CANARY else []

    def _shortest(self, record: Record) -> dict[tuple[str, str], float]:
        environment = record["environment"]
        for known_environment, shortest in self._machines:
            if not hardware_changes(_without_threads(known_environment), environment):
                return shortest
        self._machines.append((environment, {}))
        return self._machines[-1][1]


def _without_threads(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the machine without the engine's threads, which the reference work does not use."""
    return {key: value for key, value in environment.items() if key != "threads"}


def _canaries(record: Record) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of each work: on a GPU it is the engine's process that does it there or not."""
    environment = record["environment"]
    engine = "" if environment["device"] == "cpu" else record["backend"]["name"]
    works: Mapping[str, Any] = environment.get("canary") or {}
    return {(engine, key): list(s) for key, s in works.items() if s and min(s) > 0}


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def sign(marks: Marks) -> str:
    """Return what stands behind the name of a row."""
    return f" {SIGN}" if marks else ""


def mark_lines(rows: Iterable[tuple[str, Marks]]) -> list[str]:
    """Return a line in words for each disturbance, with the rows that it holds for.

    Args:
        rows: names and marks.
    """
    by_words: dict[str, list[str]] = {}
    for name, marks in rows:
        if marks:
            by_words.setdefault("; ".join(mark.words for mark in marks), []).append(name)
    return [f"{SIGN} {', '.join(names)}: {words}" for words, names in by_words.items()]
