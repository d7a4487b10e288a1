"""Keep a run that was asked to judge and measured nothing from being green.

Whatever the way (skipped tests, pytest-xdist, ``--benchmark-disable``): exit code 0 would say that
somebody looked. A run that asks for no judgement, and one without LLM tests, stays as it is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ..core.defaults import AB
from .fixtures import LLM_BENCHMARK, own_fixtures
from .options import Settings

TOLD = "llmperf"
"""Key under which a worker of pytest-xdist reports to its controller what it has collected."""
NO_TEST_RUNS = ("collectonly", "setuponly", "setupplan")


class Demand:
    """The judgement that a run was asked for, and what became of the tests that it needs."""

    def __init__(self, settings: Settings, config: pytest.Config) -> None:
        self._require = settings.require
        self._asked = _asked(settings)
        self._config = config
        self._typed = settings.typed
        self._collected = 0
        self._selected: set[str] = set()
        self._measuring = 0
        self._obstacle = ""
        self._ran = 0
        self._skips: Counter[str] = Counter()

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Note the tests of this plugin before any is deselected."""
        self._collected = sum(1 for item in items if own_fixtures(item))

    def selected(self, items: Sequence[pytest.Item], obstacle: str) -> None:
        """Note the tests of this plugin that are left to run.

        Args:
            obstacle: why this run cannot measure, if that is known before its tests run.
        """
        own = {item.nodeid: own_fixtures(item) for item in items}
        self._selected = {nodeid for nodeid, fixtures in own.items() if fixtures}
        self._measuring = sum(LLM_BENCHMARK in fixtures for fixtures in own.values())
        self._obstacle = obstacle

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test of this plugin ended."""
        if report.nodeid not in self._selected:
            return
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self._skips[reason.removeprefix("Skipped: ")] += 1
        elif report.when == "call":
            self._ran += 1

    def as_told(self) -> dict[str, Any]:
        """Return what a worker of pytest-xdist has collected, for its controller."""
        return {
            "collected": self._collected,
            "selected": sorted(self._selected),
            "measuring": self._measuring,
            "obstacle": self._obstacle,
        }

    def hear(self, told: Mapping[str, Any]) -> None:
        """Take over what a worker has collected; every worker collects the same."""
        self._collected, self._measuring = told["collected"], told["measuring"]
        self._selected, self._obstacle = set(told["selected"]), told["obstacle"]

    def unmet(self, measured: int = 0) -> str:
        """Return one line if the run had to measure and did not; empty otherwise.

        Args:
            measured: measurements of the run.
        """
        asked = self._asked
        if any(self._config.getoption(name, False) for name in NO_TEST_RUNS):
            return ""
        if self._collected and not self._selected:
            # An ini file judges the runs that measure; a command line asks for this one.
            asked = tuple(flag for flag in asked if self.is_typed(flag))
            reason = f"every test of this plugin was deselected ({self._collected})"
        elif self._measuring and not measured:
            reason = self._obstacle or self._skip_reason() or "no test measured to its end"
        elif self._selected and self._require and not self._ran:
            asked = ("--llm-require",)
            reason = self._obstacle or self._skip_reason() or "no test ran to its end"
        else:
            return ""
        return f"{', '.join(asked)}: nothing was measured: {reason}" if asked else ""

    def _skip_reason(self) -> str:
        if not self._skips:
            return ""
        (reason, _), *others = self._skips.most_common()
        more = f" (and {len(others)} more reasons, -rs lists them)" if others else ""
        return f"{reason or 'its tests were skipped'}{more}"

    def is_typed(self, flag: str) -> bool:
        """Return whether the command line of this run has an option, and not only an ini file."""
        return flag in self._typed


def _asked(settings: Settings) -> tuple[str, ...]:
    """Return the options that ask a run for a judgement."""
    asked = {
        "pytest-llmperf ab": bool(os.environ.get(AB)),
        "--llm-require": settings.require,
        "--llm-gate": bool(settings.gate.mode),
        "--llm-fail-if": bool(settings.fail_if),
    }
    return tuple(name for name, is_asked in asked.items() if is_asked)
