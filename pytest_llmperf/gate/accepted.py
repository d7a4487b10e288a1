"""Accepted changes: a small committed file that moves the level a history is judged against.

A wanted slowdown is accepted once, with a reason. From then on the entry's history begins at the run
that introduced it: older runs are at another level, and averaging over both would hide the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import OneLine
from ..core.files import parsed_json, read_regular, write_whole
from .clock import SKEW, moment, now

SCHEMA = 1
FILE = "llmperf-accepted.json"


class AcceptedError(OneLine):
    """The file cannot be used; one line that names it."""


@dataclass(frozen=True)
class Accepted:
    """The new level of an entry."""

    nodeid: str
    metric: str
    since: str
    """Start of the run that introduced it, UTC, ISO 8601."""
    commit: str
    reason: str


def read(path: Path) -> tuple[Accepted, ...]:
    """Return the accepted changes of a project; empty if there is no file.

    Raises:
        AcceptedError: the file is not what this module writes.
    """
    try:
        data = parsed_json(read_regular(path))
        if data["schema"] > SCHEMA:
            raise AcceptedError(f"{path}: schema {data['schema']} is newer than this release knows")
        changes = tuple(Accepted(**change) for change in data["accepted"])
        if any(not isinstance(v, str) for change in changes for v in asdict(change).values()):
            raise TypeError("a change holds something other than text")
        for change in changes:
            if moment(change.since) is None:
                raise ValueError(f"since: {change.since!r} is not a time")
        return changes
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise AcceptedError(
            f"{path}: cannot be read as a list of accepted changes ({error})"
        ) from None


def add(path: Path, changes: Sequence[Accepted]) -> None:
    """Add changes to the file; a change of an entry replaces an older one of the same entry."""
    replaced = {(change.nodeid, change.metric) for change in changes}
    kept = [change for change in read(path) if (change.nodeid, change.metric) not in replaced]
    ordered = sorted([*kept, *changes], key=lambda change: (change.nodeid, change.metric))
    data = {"schema": SCHEMA, "accepted": [asdict(change) for change in ordered]}
    write_whole(path, json.dumps(data, indent=2) + "\n")


def anchors(accepted: Sequence[Accepted]) -> dict[tuple[str, str], str]:
    """Return the start of each entry's history, by (nodeid, metric).

    A start that is ahead of now would end the history for years; ``ahead`` names it.
    """
    wrong = set(ahead(accepted))
    return {
        (change.nodeid, change.metric): change.since for change in accepted if change not in wrong
    }


def ahead(accepted: Sequence[Accepted]) -> list[Accepted]:
    """Return the changes that a run with a wrong clock accepted: they begin in the future."""
    latest = now() + SKEW
    return [c for c in accepted if (start := moment(c.since)) is not None and start > latest]


def problems(path: Path, accepted: Sequence[Accepted]) -> list[str]:
    """Return one line for each run whose accepted changes are not used."""
    by_run: dict[str, list[Accepted]] = {}
    for change in ahead(accepted):
        by_run.setdefault(change.since, []).append(change)
    return [
        f"{path.name}: {_named(changes)} accepted since {since}, ahead of this machine's clock: not "
        "used (one of the clocks is wrong); accept it again"
        for since, changes in by_run.items()
    ]


def _named(changes: Sequence[Accepted]) -> str:
    first, more = changes[0], len(changes) - 1
    return f"{first.nodeid} {first.metric}" + (f" and {more} more are" if more else " is")
