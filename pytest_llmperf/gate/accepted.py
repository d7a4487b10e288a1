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
        return changes
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
    """Return the start of each entry's history, by (nodeid, metric)."""
    return {(change.nodeid, change.metric): change.since for change in accepted}
