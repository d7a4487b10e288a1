"""One line per cause: metrics of a test that changed together, and those that only follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..gate.verdict import EntryVerdict, Verdict, worst_first

_FOLLOWS = {
    "e2e": ("ttft", "tpot"),
    "itl": ("tpot",),
    "icl": ("tpot",),
    "decode_throughput": ("tpot",),
    "prefill_throughput": ("ttft",),
    "output_throughput": ("ttft", "tpot", "e2e"),
    "output_throughput_per_request": ("ttft", "tpot", "e2e"),
    "total_throughput": ("ttft", "tpot", "e2e"),
    "request_throughput": ("ttft", "tpot", "e2e"),
    "goodput": ("ttft", "tpot", "e2e"),
    "energy_per_token": ("energy_per_output_token", "ttft", "tpot", "e2e"),
    "energy_per_output_token": ("ttft", "tpot", "e2e"),
    "cost_per_million_tokens": ("ttft", "tpot", "e2e"),
}
"""Metrics that are computed from others, or move with them."""


@dataclass(frozen=True)
class TestChange:
    """The entries of a test that have one verdict."""

    __test__ = False  # Its name looks like a test class to pytest.

    nodeid: str
    verdict: Verdict
    causes: tuple[EntryVerdict, ...]
    followers: tuple[EntryVerdict, ...]
    """Entries that say the same again."""


def by_test(entries: Sequence[EntryVerdict]) -> list[TestChange]:
    """Return the changes of each test, the worst first."""
    groups: dict[tuple[Verdict, str], list[EntryVerdict]] = {}
    for entry in worst_first(entries):
        groups.setdefault((entry.verdict, entry.nodeid), []).append(entry)
    return [_change(*key, group) for key, group in groups.items()]


def _change(verdict: Verdict, nodeid: str, entries: Sequence[EntryVerdict]) -> TestChange:
    metrics = {entry.metric for entry in entries}
    causes = [e for e in entries if metrics.isdisjoint(_FOLLOWS.get(e.metric, ()))]
    followers = [entry for entry in entries if entry not in causes]
    return TestChange(nodeid, verdict, tuple(causes), tuple(followers))
