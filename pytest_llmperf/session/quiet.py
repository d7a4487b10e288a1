"""Fail measurements that were disturbed, with ``--llm-quiet=fail``; without it they are only marked."""

from __future__ import annotations

from collections.abc import Sequence

from ..store.schema import Record

OPTION = "--llm-quiet=fail"


class QuietCheck:
    """Finds the disturbed measurements of a run."""

    def __init__(self, fails: bool) -> None:
        self._fails = fails
        self._failed: set[str] = set()
        """Tests that have failed for it."""

    def after(self, records: Sequence[Record]) -> list[str]:
        """Return one line if the newest measurement was disturbed and has to fail; empty otherwise."""
        if not self._fails:
            return []
        from ..analysis.marks import marks_of

        marks = marks_of(records)[-1]
        if not marks:
            return []
        self._failed.add(records[-1]["nodeid"])
        return [f"disturbed measurement: {'; '.join(mark.words for mark in marks)} ({OPTION})"]

    def late(self, records: Sequence[Record]) -> list[str]:
        """Return a line for each passed test that later ones show to have run on a slowed machine."""
        if not self._fails:
            return []
        from ..analysis.marks import marks_of

        return [
            f"{OPTION}: {record['nodeid']}: {'; '.join(mark.words for mark in marks)}"
            for record, marks in zip(records, marks_of(records), strict=True)
            if marks and record["nodeid"] not in self._failed
        ]
