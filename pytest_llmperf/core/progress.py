"""Progress of long work: a caller that shows progress passes a function of this type."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a phase (``load``, ``warm-up``, ``round``), its number counted from 1, and the total.

0 is a number that is not known."""


def silent(phase: str, number: int, total: int) -> None:
    """Discard the progress report."""
