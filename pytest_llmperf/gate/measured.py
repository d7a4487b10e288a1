"""What a comparison was measured on, in words: hardware, engines, workloads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..store.hardware import machine
from ..store.stored import TestRecord
from ..store.work import work_words

_UNKNOWN = "?"


def measured(
    baseline: Iterable[TestRecord], candidate: Iterable[TestRecord]
) -> dict[str, list[str]]:
    """Return phrases under ``hardware``, ``engines`` and ``workloads``; each phrase once.

    An engine of two versions has both, the baseline's first.
    """
    sides = (list(baseline), list(candidate))
    both = [test for side in sides for test in side]
    return {
        "hardware": _unique(_hardware(test) for test in both),
        "engines": _engines(*sides),
        "workloads": _unique(work_words(test.workload) for test in both),
    }


def _hardware(test: TestRecord) -> str:
    environment = test.environment
    cores = environment.get("cores")
    on_cpu = environment.get("device") == "cpu" and cores
    return machine(environment) + (f", {cores} cores" if on_cpu else "")


def _engines(baseline: Sequence[TestRecord], candidate: Sequence[TestRecord]) -> list[str]:
    versions = [_versions(side) for side in (baseline, candidate)]
    phrases = []
    for engine in dict.fromkeys([*versions[0], *versions[1]]):
        before, after = (", ".join(side.get(engine, [])) for side in versions)
        known = dict.fromkeys(version for version in (before, after) if version)
        phrases.append(f"{engine} {' -> '.join(known) or _UNKNOWN}")
    return phrases


def _versions(tests: Iterable[TestRecord]) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for test in tests:
        of_engine = versions.setdefault(str(test.subject.get("engine")), [])
        if test.engine_version and test.engine_version not in of_engine:
            of_engine.append(test.engine_version)
    return versions


def _unique(phrases: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(phrase for phrase in phrases if phrase))
