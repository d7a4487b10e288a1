"""The runs at which a series breaks: from there, something else was measured, or on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..store.stored import StoredRun, TestRecord
from .comparable import differences


@dataclass(frozen=True)
class Break:
    """A test is not comparable with its run before."""

    nodeid: str
    label: str
    """The first such run."""
    reason: str
    times: int
    """How often the same happened, for instance where two machines take turns."""

    @property
    def line(self) -> str:
        again = f" ({self.times} times)" if self.times > 1 else ""
        return f"break: {self.nodeid} at {self.label}: {self.reason}{again}"


def breaks(runs: Sequence[StoredRun], wanted: str = "") -> list[Break]:
    """Return the breaks of every test, in the order of the runs.

    Args:
        runs: stored runs, oldest first.
        wanted: part of a test id; other tests are left out.
    """
    before: dict[str, TestRecord] = {}
    found: dict[tuple[str, str], Break] = {}
    for run in runs:
        for nodeid, test in run.tests.items():
            if wanted not in nodeid:
                continue
            phrases = differences(before[nodeid], test) if nodeid in before else []
            before[nodeid] = test
            if phrases:
                reason = "; ".join(phrases)
                earlier = found.get((nodeid, reason))
                found[nodeid, reason] = Break(
                    nodeid,
                    earlier.label if earlier else run.label,
                    reason,
                    earlier.times + 1 if earlier else 1,
                )
    return list(found.values())
