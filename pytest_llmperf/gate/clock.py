"""The order of runs is that of a wall clock, which can be wrong: runs ahead of now are left out."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from ..store.stored import StoredRun

SKEW = datetime.timedelta(hours=1)
"""Clocks of two machines may differ by this much."""


def now() -> datetime.datetime:
    """Return this machine's time."""
    return datetime.datetime.now(datetime.UTC)


def moment(text: str) -> datetime.datetime | None:
    """Return a time in ISO 8601, in UTC unless it says otherwise; None if it is not one."""
    try:
        time = datetime.datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    except (ValueError, OverflowError, TypeError):
        return None


def problem(started_at: str) -> str:
    """Return why a run cannot stand in an order of runs; empty if it can."""
    start = moment(started_at)
    if start is None:
        return f"its start, {started_at!r}, is not a time"
    if start > now() + SKEW:
        return f"its start, {started_at}, is ahead of this machine's clock: one of them is wrong"
    return ""


def believable(runs: Iterable[StoredRun]) -> tuple[list[StoredRun], list[str]]:
    """Return the runs that can be ordered, oldest first, and one line for each that is left out."""
    kept, problems = [], []
    for run in runs:
        if reason := problem(run.started_at):
            problems.append(f"{run.path}: {reason}")
        else:
            kept.append(run)
    return sorted(kept, key=start_of), problems


def start_of(run: StoredRun) -> datetime.datetime:
    """Return the start of a run; the oldest possible if it is not a time."""
    return moment(run.started_at) or datetime.datetime.min.replace(tzinfo=datetime.UTC)
