"""Read from a record the activity that may have disturbed its measurement."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from ..analysis.marks import HARMFUL_THROTTLING, STEAL_SHARE
from ..store.stored import TestRecord

CANARY_SHIFT = 0.03
"""Relative change of the reference work's time from which it is reported."""
OTHERS_SHARE = 0.25
"""Share of one core that processes other than the engine's and pytest's may use."""


def pair_problem(a: TestRecord, b: TestRecord) -> str | None:
    """Return why a pair is not valid, or None: the GPU was forced to slow down on either side."""
    return problem(a) or problem(b)


def problem(test: TestRecord) -> str | None:
    """Return why a measurement is not valid, or None: its GPU was forced to slow down."""
    reasons = [r for r in _conditions(test).get("throttling") or () if r in HARMFUL_THROTTLING]
    return f"the GPU was throttled ({reasons[0].replace('_', ' ')})" if reasons else None


def disturbances(test: TestRecord) -> list[str]:
    """Return a phrase for each condition that makes numbers noisy, but not invalid."""
    state = _conditions(test)
    phrases = []
    if (state.get("swapped_mib") or 0) > 1:
        phrases.append("the machine was swapping")
    if (state.get("steal_share") or 0) > STEAL_SHARE:
        phrases.append("the hypervisor took CPU time away")
    if (state.get("other_cores") or 0) > OTHERS_SHARE:
        phrases.append("other processes used the CPU")
    # The other side's engine rests there.
    if state.get("other_gpu_processes", 0) > bool(state.get("in_turns")):
        phrases.append("other processes used the GPU")
    throttling = [r for r in state.get("throttling") or () if r not in ("gpu_idle", "none")]
    phrases += [f"GPU clocks were limited ({reason.replace('_', ' ')})" for reason in throttling]
    return phrases


def canary_shift(baseline: Iterable[TestRecord], candidate: Iterable[TestRecord]) -> list[str]:
    """Return a phrase for each reference work whose time differs on the candidate's side.

    Such a difference means that the machine has changed, not only the engine.
    """
    phrases = []
    sides = [_canaries(baseline), _canaries(candidate)]
    for key in sides[0].keys() & sides[1].keys():
        before, after = (statistics.median(side[key]) for side in sides)
        shift = after / before - 1 if before > 0 else 0.0
        if abs(shift) > CANARY_SHIFT:
            work = "arithmetic" if key[1] == "compute_s" else "copy of memory"
            speed = f"{abs(shift):.0%} {'slower' if shift > 0 else 'faster'}".replace("%", " %")
            phrases.append(f"reference {work} {speed} than in the baseline: the machine changed")
    return sorted(set(phrases))


def _canaries(tests: Iterable[TestRecord]) -> dict[tuple[Any, str], list[float]]:
    """Return seconds by (engine, work): each engine's process does the work on its device."""
    canaries: dict[tuple[Any, str], list[float]] = {}
    for test in tests:
        for key, seconds in (test.environment.get("canary") or {}).items():
            canaries.setdefault((test.subject.get("engine"), key), []).extend(seconds)
    return {key: seconds for key, seconds in canaries.items() if seconds}


def _conditions(test: TestRecord) -> Mapping[str, Any]:
    conditions: Mapping[str, Any] = test.environment.get("conditions") or {}
    return conditions
