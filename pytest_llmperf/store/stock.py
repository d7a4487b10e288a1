"""What pytest-benchmark would report about the entries of this plugin, and reports itself no more.

Its tables show every entry in seconds, memory and rates too, so entries of this plugin are left out of
them; those of ordinary benchmarks stay as they are. Its comparison with stored runs is taken over: it
would end all summaries with a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .reached import SHARES, ceiling_of
from .schema import KEY, Record
from .stats import scaled
from .stored import StoredError, StoredFile, file_of


@dataclass(frozen=True)
class Comparison:
    """The comparison with stored runs that ``--benchmark-compare`` asked for."""

    files: tuple[StoredFile | StoredError, ...] = ()
    regressions: tuple[str, ...] = ()
    """Entries that ``--benchmark-compare-fail`` finds too slow, and by how much."""
    problem: str = ""
    """Why it could not be made; one line."""


class StockReport:
    """Keeps the entries of this plugin out of pytest-benchmark's report."""

    def __init__(self, session: Callable[[], Any]) -> None:
        self._session = session
        self._grouping = ""
        self._as_stored: dict[tuple[str, str], Mapping[str, Any]] = {}
        """Statistics of shares, by file and entry."""

    def put_under(self, record: Record) -> None:
        """Put the stored shares of a test under the ceilings of its record, before they are compared.

        With each other, shares of two ceilings do not compare.
        """
        compared: Mapping[str, Mapping[str, Any]] = (
            getattr(self._session(), "compared_mapping", None) or {}
        )
        for path, entries in compared.items():
            ours = {name: entry.get("extra_info", {}).get(KEY) for name, entry in entries.items()}
            parents = {
                name: part["environment"]
                for name, part in ours.items()
                if isinstance(part, dict) and part.get("nodeid") == record["nodeid"]
            }
            for name, part in ours.items():
                if not isinstance(part, dict) or part.get("metric") not in SHARES:
                    continue
                before = ceiling_of(parents.get(str(part.get("parent")), {}), part["metric"])
                now = ceiling_of(record["environment"], part["metric"])
                if before and now:
                    stored = self._as_stored.setdefault((str(path), name), entries[name]["stats"])
                    entries[name]["stats"] = scaled(stored, now[0] / before[0])

    def keep_ours_out(self, benchmarks: list[dict[str, Any]]) -> None:
        """Take the entries of this plugin out of the list that is about to be grouped into tables."""
        benchmarks[:] = [entry for entry in benchmarks if KEY not in entry.get("extra_info", {})]

    def grouping_failed(self, error: Exception, group_by: str) -> None:
        """Note why pytest-benchmark has no table."""
        words = f"{type(error).__name__}: {error}"
        self._grouping = f"pytest-benchmark has no table: --benchmark-group-by={group_by}: {words}"

    def take_comparison(self) -> Comparison:
        """Return the comparison, and take it from pytest-benchmark, which would raise."""
        session = self._session()
        compared: Mapping[str, Mapping[str, Any]] = getattr(session, "compared_mapping", None) or {}
        regressions = getattr(session, "performance_regressions", [])
        problem = self._grouping
        if getattr(session, "compare_fail", None) and not compared and not problem:
            problem = (
                "--benchmark-compare-fail: no stored run to compare with (--benchmark-compare)"
            )
        comparison = Comparison(
            files=tuple(_stored(Path(path), entries) for path, entries in compared.items()),
            regressions=tuple(f"{name} - {check}" for name, check in regressions),
            problem=problem,
        )
        if comparison.regressions or problem:
            session.performance_regressions = []
            session.compare_fail = None
        return comparison


def _stored(path: Path, entries: Mapping[str, Any]) -> StoredFile | StoredError:
    try:
        return file_of(entries.values(), None, path.name)
    except StoredError as error:
        return error
