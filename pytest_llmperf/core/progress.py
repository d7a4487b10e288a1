"""Progress of long work: who wants to know passes a function of this type."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a phase (``load``, ``warm-up``, ``round``), its number from 1, and how many there are."""


def silent(phase: str, number: int, total: int) -> None:
    """Report progress to nobody."""
