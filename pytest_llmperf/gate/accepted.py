"""Accepted changes: a small committed file that moves the level a history is judged against.

A slowdown that was wanted is accepted once, with a reason. From then on the cell's history begins at the
run that brought it: older runs are another level, and averaging over both would hide the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.files import write_whole

SCHEMA = 1
FILE = "llmperf-accepted.json"


class AcceptedError(Exception):
    """The file cannot be used; one line that names it."""


@dataclass(frozen=True)
class Accepted:
    """One cell's new level."""

    nodeid: str
    metric: str
    since: str
    """Start of the run that brought it, UTC, ISO 8601."""
    commit: str
    reason: str


def read(path: Path) -> tuple[Accepted, ...]:
    """The accepted changes of a project; none where there is no file.

    Raises:
        AcceptedError: it is not what this module writes.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["schema"] > SCHEMA:
            raise AcceptedError(f"{path}: schema {data['schema']} is newer than this release knows")
        found = tuple(Accepted(**entry) for entry in data["accepted"])
        if any(not isinstance(value, str) for entry in found for value in asdict(entry).values()):
            raise TypeError("an entry holds something else than text")
        return found
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AcceptedError(
            f"{path}: cannot be read as a list of accepted changes ({error})"
        ) from None


def add(path: Path, changes: Sequence[Accepted]) -> None:
    """Add changes to the file; a cell that is accepted again has its older entry replaced."""
    cells = {(change.nodeid, change.metric) for change in changes}
    kept = [entry for entry in read(path) if (entry.nodeid, entry.metric) not in cells]
    entries = sorted([*kept, *changes], key=lambda entry: (entry.nodeid, entry.metric))
    data = {"schema": SCHEMA, "accepted": [asdict(entry) for entry in entries]}
    write_whole(path, json.dumps(data, indent=2) + "\n")


def anchors(accepted: Sequence[Accepted]) -> dict[tuple[str, str], str]:
    """Since when a cell's history counts, by (nodeid, metric)."""
    return {(entry.nodeid, entry.metric): entry.since for entry in accepted}
