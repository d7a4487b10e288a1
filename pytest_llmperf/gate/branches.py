"""The branches of stored runs, for a message about one that has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..core.defaults import BRANCH
from ..store.stored import StoredRun

_SHOWN = 5
"""Branches that a message names."""


def no_run_of(branch: str, runs: Sequence[StoredRun]) -> str:
    """Return a line on why a branch has no stored run: which branches the stored runs have."""
    known = Counter(run.branch for run in runs)
    unnamed = known.pop("", 0)
    parts = [f"{n} of {name}" for name, n in known.most_common(_SHOWN)]
    if unnamed:
        parts.append(
            f"{unnamed} without a branch (git had a detached head, and no CI variable named one: set "
            f"{BRANCH})"
        )
    return f"no stored run is of branch {branch!r}; stored: {', '.join(parts)}"
