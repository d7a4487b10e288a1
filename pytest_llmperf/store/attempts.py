"""Attempts of a test: plugins run a test again, and its last attempt counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .schema import KEY


def without_earlier(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries without those of earlier attempts.

    An attempt may have fewer metrics than the one before: its own entry, the first of it, ends them all.
    """
    latest: dict[object, dict[object, dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        name = entry.get("fullname", number)
        parent = _parent(entry)
        if parent is None:
            latest[name] = {name: entry}
        else:
            latest.setdefault(parent, {})[name] = entry
    return [entry for attempt in latest.values() for entry in attempt.values()]


def _parent(entry: Mapping[str, Any]) -> str | None:
    """Return the test whose metric an entry is; None for the test's own entry."""
    parent: str | None = (entry.get("extra_info", {}).get(KEY) or {}).get("parent")
    return parent
